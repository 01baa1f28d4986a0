"""What training, evaluation and search need of a task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
Batches = Iterator[tuple[Tensor, Tensor]]


class DataError(ValueError):
    """Data or a data option that cannot be used; the message names it and says what to do."""


class Task(ABC):
    """Data in three splits, a loss to minimise and a metric to report.

    A supernet is trained on ``train_batches``; the statistics of a subnet are renewed on ``recalibration_batches``;
    candidates are compared on ``batches("validation")``; ``batches("test")`` is for the final networks only.
    """

    metric: str
    """The name of what ``correct`` counts, as a share of the targets."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash of the content of all splits."""

    @abstractmethod
    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches that ``train_batches`` gives."""

    @abstractmethod
    def train_batches(self, batch_size: int, generator: torch.Generator) -> Batches:
        """One epoch of (input, target) batches in random order; the generator alone decides what they are."""

    @abstractmethod
    def batches(self, split: Split, batch_size: int, limit: int | None = None, shuffled: bool = False) -> Batches:
        """A split in its stored order, or in a fixed random one; with ``limit``, a fixed random subset of that many."""

    @abstractmethod
    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Training samples as training sees them, the same ones on every call with the same seed."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def hits(self, logits: Tensor, target: Tensor) -> Tensor:
        """Which targets of a batch were met, bool (n,)."""

    def correct(self, logits: Tensor, target: Tensor) -> int:
        """How many targets of a batch were met."""
        return int(self.hits(logits, target).sum())
