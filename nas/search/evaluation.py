"""The expensive part of a trial: take a network from the supernet, recalibrate it, validate it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.tasks import ImageClassification, Split
from nas.training.recalibration import recalibrate
from search_spaces import Architecture
from search_spaces.supernet import Supernet, resize


class Evaluator:
    """Evaluates networks with the supernet's weights; the same network always gets the same figure.

    Args:
        supernet: trained weights.
        task: validation images, and training images for recalibration.
        recalibration_images: how many; they are the same for all networks.
        batch_size: for both; small ones stay in the cache of a CPU.
        seed: picks and augments the recalibration images.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: ImageClassification,
        recalibration_images: int = 500,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        self.supernet, self.task, self.batch_size = supernet, task, batch_size
        count = min(recalibration_images, len(task.train))
        self._recalibration = [images for images, _ in task.recalibration_batches(count, min(batch_size, count), seed)]

    def network(self, architecture: Architecture) -> nn.Sequential:
        """The static network, recalibrated, in evaluation mode."""
        network = self.supernet.extract(architecture)
        size = self._size(architecture)
        recalibrate(network, (resize(images, size) for images in self._recalibration))
        return network

    def accuracy(self, network: nn.Module, architecture: Architecture, split: Split = "validation") -> float:
        """Share of images that the network classifies correctly, 0..1."""
        size = self._size(architecture)
        correct = seen = 0
        with torch.inference_mode():
            for images, target in self.task.batches(split, self.batch_size):
                correct += self.task.correct(self._logits(network, resize(images, size)), target)
                seen += len(target)
        return correct / seen

    def evaluate(self, architecture: Architecture) -> float:
        """Validation accuracy, 0..1."""
        return self.accuracy(self.network(architecture), architecture)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits

    def _size(self, architecture: Architecture) -> tuple[int, ...]:
        return self.supernet.space.input_shapes(architecture)[self.supernet.space.input_name][2:]
