"""What training, evaluation and search need of a task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
Batches = Iterator[tuple[Tensor, Tensor]]


class DataError(ValueError):
    """Data or a data option that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class TaskMetric:
    """A figure of how well a network does a task.

    Attributes:
        name: such as ``accuracy``.
        direction: which way is better.
        unit: for people; empty for a ratio.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    unit: str = ""


@dataclass(frozen=True)
class Scores:
    """What the samples of a batch (images, sequences) add to a metric: it is the sum of all totals over that of all counts.

    Attributes:
        total: of each sample, float64 (n,), such as 1 for an image of which the class was found.
        count: of each sample, float64 (n,), such as 1 for an image.
    """

    total: Tensor
    count: Tensor


class Task(ABC):
    """Data in three splits, a loss to minimise and metrics to report.

    A supernet is trained on ``train_batches``; the statistics of a subnet are renewed on ``recalibration_batches``;
    candidates are compared on what ``evaluation_batches`` gives of the validation split, each metric on its own samples;
    the test split is for the final networks only.
    """

    metrics: tuple[TaskMetric, ...]
    """What ``score`` knows, the most important first."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash of the content of all splits."""

    @property
    @abstractmethod
    def space_options(self) -> Mapping[str, int]:
        """The values that options of a search space must have, where it has such options, to fit the data."""

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
    def evaluation_batches(self, metric: str, split: Split, batch_size: int, shuffled: bool = False) -> Batches:
        """The samples on which a metric is taken, the same for all networks; ``shuffled``, in a fixed random order, so
        that those of any number of batches are a fair sample.

        Raises:
            DataError: the task has no such metric, or no such split.
        """

    @abstractmethod
    def evaluation_size(self, metric: str, split: Split) -> int:
        """How many samples ``evaluation_batches`` gives."""

    @abstractmethod
    def score(self, metric: str, logits: Tensor, target: Tensor) -> Scores:
        """What each sample of a batch of ``evaluation_batches`` adds to the metric.

        Raises:
            DataError: the task has no such metric.
        """

    def check_metric(self, name: str) -> None:
        """Refuse a metric that ``metrics`` does not list.

        Raises:
            DataError: naming those it lists.
        """
        known = [metric.name for metric in self.metrics]
        if name not in known:
            raise DataError(f"there is no metric {name!r} of this task, give one of {', '.join(known)}")
