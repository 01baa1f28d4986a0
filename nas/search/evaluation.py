"""The expensive part of a trial: take a network from the supernet, recalibrate it, validate it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.search.folding import fold
from nas.tasks import Split
from nas.tasks.task import Batches
from nas.training.recalibration import recalibrate
from search_spaces import Architecture
from search_spaces.supernet import Supernet, resize

#: Bytes of images, ready for the networks, that an evaluator keeps: 5,000 of 32 x 32 pixels in colour take 61 MB.
MEMORY = 256 * 2**20


class Judge(Protocol):
    """The part of a task that evaluations need; `nas.tasks.Task` says what each method gives."""

    def batches(self, split: Split, batch_size: int) -> Batches:
        """A split in its stored order."""

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Training samples, the same ones on every call with the same seed; all of them when there are fewer."""

    def correct(self, logits: Tensor, target: Tensor) -> int:
        """How many targets of a batch were met."""


class Evaluator:
    """Evaluates networks with the supernet's weights; the same network always gets the same figure.

    Args:
        supernet: trained weights.
        task: validation images, and training images for recalibration.
        recalibration_images: how many; they are the same for all networks.
        batch_size: for both; small ones stay in the cache of a CPU, and their memory is used again instead of being
            given back to the system after every layer.
        seed: picks and augments the recalibration images.
        memory: bytes; images of the resolutions that are evaluated first are kept as long as they fit, others are made
            again for every network.

    Attributes:
        recalibration: batches of images, float32 (n, channels, height, width), as the task gives them.
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
        self.supernet, self.task, self.batch_size = supernet, task, batch_size
        self.recalibration = [
            images for images, _ in task.recalibration_batches(recalibration_images, batch_size, seed)
        ]
        self._kept: dict[tuple[Split, tuple[int, ...]], list[tuple[Tensor, Tensor]]] = {}
        self._room = memory

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The static network, recalibrated, in evaluation mode."""
        network = self.supernet.extract(architecture)
        size = self._size(architecture)
        recalibrate(network, (resize(images, size) for images in self.recalibration))
        return network

    def accuracy(self, network: nn.Module, architecture: Architecture, split: Split = "validation") -> float:
        """Share of images that the network classifies correctly, 0..1.

        Raises:
            ValueError: when the network is in training mode.
        """
        size = self._size(architecture)
        example, _ = next(self._batches(split, size))
        network = fold(network, example[:1])
        correct = seen = 0
        with torch.inference_mode():
            for images, target in self._batches(split, size):
                correct += self.task.correct(network(images), target)
                seen += len(target)
        return correct / seen

    def evaluate(self, architecture: Architecture) -> float:
        """Validation accuracy, 0..1."""
        return self.accuracy(self.network(architecture), architecture)

    def _batches(self, split: Split, size: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of a split at a size, kept from the first time on if there is room for all of them."""
        if (split, size) in self._kept:
            yield from self._kept[split, size]
            return
        batches, room = [], self._room
        for images, target in self.task.batches(split, self.batch_size):
            ready = resize(images, size).contiguous(memory_format=torch.channels_last)
            room -= ready.nbytes
            if room >= 0:
                batches.append((ready, target))
            else:
                batches.clear()
            yield ready, target
        if room >= 0:
            self._kept[split, size], self._room = batches, room

    def _size(self, architecture: Architecture) -> tuple[int, ...]:
        return self.supernet.space.input_shapes(architecture)[self.supernet.space.input_name][2:]
