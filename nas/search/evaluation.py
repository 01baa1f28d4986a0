"""Evaluating networks that classify images: on all of them, or only as far as they can still enter the front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.search.evaluators import NetworkEvaluator
from nas.search.fidelity import Bar, Race, Score
from nas.search.folding import fold
from nas.search.metrics import ACCURACY
from nas.tasks import Split
from nas.tasks.task import Batches
from search_spaces import Architecture
from search_spaces.supernet import Supernet, resize

#: Bytes of images, ready for the networks, that an evaluator keeps: 5,000 of 32 x 32 pixels in colour take 61 MB.
MEMORY = 256 * 2**20


class Judge(Protocol):
    """The part of a task that evaluations need; `nas.tasks.Task` says what each method gives."""

    @property
    def validation(self) -> Sized:
        """All that networks are judged on."""

    def batches(self, split: Split, batch_size: int, *, shuffled: bool = False) -> Batches:
        """A split in its stored order, or in a fixed random one."""

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Training samples, the same ones on every call with the same seed; all of them when there are fewer."""

    def hits(self, logits: Tensor, target: Tensor) -> Tensor:
        """Which targets of a batch were met, bool (n,)."""


class Evaluator(NetworkEvaluator[Judge]):
    """Evaluates image classifiers with the supernet's weights; the same network always gets the same figure.

    Args:
        supernet: trained weights.
        task: validation images, and training images for recalibration.
        recalibration_images: how many; they are the same for all networks.
        batch_size: for both; small ones stay in the cache of a CPU, and their memory is used again instead of being
            given back to the system after every layer.
        seed: picks and augments the recalibration images.
        memory: bytes; images of the resolutions that are evaluated first are kept as long as they fit, others are made
            again for every network.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Judge,
        recalibration_images: int = 500,
        batch_size: int = 32,
        seed: int = 0,
        memory: int = MEMORY,
    ) -> None:
        super().__init__(supernet, task)
        self.batch_size = batch_size
        self._recalibration_images, self._seed = recalibration_images, seed
        self._kept: dict[tuple[Split, tuple[int, ...]], list[tuple[Tensor, Tensor]]] = {}
        self._room = memory

    @cached_property
    def recalibration(self) -> list[Tensor]:
        """Batches of images, float32 (n, channels, height, width), as the task gives them."""
        drawn = self.task.recalibration_batches(self._recalibration_images, self.batch_size, self._seed)
        return [images for images, _ in drawn]

    def _recalibration_inputs(self, architecture: Architecture) -> Iterator[Tensor]:
        for images in self.recalibration:
            yield resize(images, self._size(architecture))

    def figures(
        self, network: nn.Module, architecture: Architecture, split: Split = "validation"
    ) -> Mapping[str, float]:
        """The accuracy; as for `NetworkEvaluator`."""
        return {ACCURACY.name: self.accuracy(network, architecture, split)}

    def accuracy(self, network: nn.Module, architecture: Architecture, split: Split = "validation") -> float:
        """Share of images that the network classifies correctly, 0..1.

        Raises:
            ValueError: when the network is in training mode.
        """
        correct = np.concatenate(list(self.hits(network, architecture, split)))
        return int(correct.sum()) / len(correct)

    def hits(
        self, network: nn.Module, architecture: Architecture, split: Split = "validation"
    ) -> Iterator[NDArray[np.bool_]]:
        """Which images the network classifies correctly, batch by batch.

        Their order is random and the same for all networks: the first batches are a fair sample of the split, on which
        networks can be compared image by image.

        Raises:
            ValueError: when the network is in training mode.
        """
        size = self._size(architecture)
        example, _ = next(self._batches(split, size))
        network = fold(network, example[:1])
        for images, target in self._batches(split, size):
            with torch.inference_mode():
                correct: NDArray[np.bool_] = self.task.hits(network(images), target).numpy()
            yield correct

    def evaluate(self, architecture: Architecture) -> float:
        """Validation accuracy, 0..1."""
        return self.accuracy(self.network(architecture), architecture)

    def race(self, architecture: Architecture, bar: Bar, race: Race | None = None) -> Score:
        """Validation accuracy; an estimate from part of the images as soon as these show that it is below `bar`.

        Args:
            architecture: of the network.
            bar: that it must reach.
            race: when it is decided, and how surely; by default as `Race` says.
        """
        hits = self.hits(self.network(architecture), architecture)
        return (race or Race()).run(hits, len(self.task.validation), bar)

    def score(self, architecture: Architecture, bar: Bar | None = None, race: Race | None = None) -> Score:
        """`evaluate`, or `race` when there is a bar."""
        return Score(self.evaluate(architecture)) if bar is None else self.race(architecture, bar, race)

    def _batches(self, split: Split, size: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of a split at a size, kept from the first time on if there is room for all of them."""
        if (split, size) not in self._kept:
            self._kept[split, size] = self._made_ready(split, size)
        return iter(self._kept[split, size] or self._ready(split, size))

    def _made_ready(self, split: Split, size: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        """All of them, or none."""
        batches, room = [], self._room
        for images, target in self._ready(split, size):
            room -= images.nbytes
            if room < 0:
                return []
            batches.append((images, target))
        self._room = room
        return batches

    def _ready(self, split: Split, size: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        for images, target in self.task.batches(split, self.batch_size, shuffled=True):
            yield resize(images, size).contiguous(memory_format=torch.channels_last), target

    def _size(self, architecture: Architecture) -> tuple[int, ...]:
        return self.supernet.space.input_shapes(architecture)[self.supernet.space.input_name][2:]
