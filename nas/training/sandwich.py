"""The sandwich rule with in-place distillation (Yu and Huang, ICCV 2019; BigNAS, Yu et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from search_spaces.supernet import Supernet

Loss = Callable[[Tensor, Tensor], Tensor]


class Sandwich:
    """Each step trains the largest network on the labels, then the smallest and some random ones on its outputs.

    Args:
        random_paths: how many random networks each step trains.
    """

    def __init__(self, random_paths: int = 1) -> None:
        self.random_paths = random_paths

    def step(
        self, supernet: Supernet, images: Tensor, target: Tensor, loss: Loss, rng: np.random.Generator
    ) -> dict[str, float]:
        """Add the gradients of one step; each graph is freed before the next is made.

        Args:
            images: shape (n, channels, height, width).
            target: class indices, shape (n,).
            loss: maps logits and target to a scalar.
            rng: draws the random networks.

        Returns:
            The losses by name (means of the batch).
        """
        space = supernet.space
        supernet.activate(space.largest())
        logits = supernet(images)
        largest = loss(logits, target)
        largest.backward()
        soft = F.softmax(logits.detach().float(), dim=1)
        paths = [space.smallest(), *space.architectures(space.random_codes(self.random_paths, rng))]
        names = ["smallest", *(f"random{i + 1}" for i in range(self.random_paths))]
        losses = {"largest": largest.item()}
        for name, path in zip(names, paths, strict=True):
            supernet.activate(path)
            distillation = F.cross_entropy(supernet(images), soft)
            distillation.backward()
            losses[name] = distillation.item()
        return losses
