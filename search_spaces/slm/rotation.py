"""Rotary positions (Su et al., "RoFormer: Enhanced transformer with rotary position embedding", 2021)."""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Rotation(NamedTuple):
    """What pairs of features, the first one of each half, are turned by; both of shape (places, features).

    Attributes:
        cosine: of both halves.
        sine: of both halves, with the sign that it has in each.
    """

    cosine: Tensor
    sine: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """`x` of shape (..., places, features), turned."""
        half = x.shape[-1] // 2
        return x * self.cosine + torch.cat([x[..., half:], x[..., :half]], dim=-1) * self.sine


class Stretch(NamedTuple):
    """How slow pairs are slowed down further, so that a model sees farther than it was first trained to ("The Llama 3 herd
    of models", 2024, as published with Llama 3.1).

    Attributes:
        factor: by which pairs are slower whose full turn is longer than `context / low` tokens.
        low: see there.
        high: pairs whose full turn is shorter than `context / high` stay as they are; in between there is a mixture.
        context: tokens that the model was first trained with.
    """

    factor: float
    low: float
    high: float
    context: float

    def __call__(self, frequencies: Tensor) -> Tensor:
        """The new frequencies, in radians from token to token."""
        turns = frequencies * (self.context / (2 * pi))
        kept = F.hardtanh((turns - self.low) * (1 / (self.high - self.low)), 0.0, 1.0)
        return frequencies * (kept + (1 - kept) * (1 / self.factor))


def rotation(places: Tensor, features: int, base: float, stretch: Stretch | None = None) -> Rotation:
    """The rotation at `places`, a vector.

    Args:
        places: integers, as numbers of any type.
        features: how many there are, an even number.
        base: the slowest pair turns by about 1 over `base` from place to place.
        stretch: what slows pairs down, if anything.
    """
    pairs = torch.arange(0, features, 2, dtype=torch.float32, device=places.device)
    frequencies = torch.pow(base, pairs * (-1 / features))
    angles = places.float()[:, None] * (frequencies if stretch is None else stretch(frequencies))
    cosine, sine = angles.cos(), angles.sin()
    return Rotation(torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1))


def places(start: int, count: int, like: Tensor) -> Tensor:
    """The places from `start` on, on the device of `like`."""
    return torch.arange(start, start + count, device=like.device)
