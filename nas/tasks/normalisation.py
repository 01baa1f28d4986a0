"""From grey levels to what networks are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """Takes the mean from each channel and divides it by the standard deviation.

    Attributes:
        mean: of each channel, for values from 0 to 1.
        std: of each channel, above 0.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 images of uint8 ones, both (n, channels, height, width)."""
        subtrahend, factor = self._constants
        return images.float().sub_(subtrahend).mul_(factor)

    @cached_property
    def _constants(self) -> tuple[Tensor, Tensor]:
        return 255 * _as_channels(self.mean), 1 / (255 * _as_channels(self.std))


def _as_channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
