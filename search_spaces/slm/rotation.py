"""Rotary positions (Su et al., "RoFormer: Enhanced transformer with rotary position embedding", 2021)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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


def rotation(places: Tensor, features: int, base: float) -> Rotation:
    """The rotation at `places`, a vector.

    Args:
        places: integers, as numbers of any type.
        features: how many there are, an even number.
        base: the slowest pair turns by about 1 over `base` from place to place.
    """
    pairs = torch.arange(0, features, 2, dtype=torch.float32, device=places.device)
    angles = places.float()[:, None] * torch.pow(base, pairs * (-1 / features))
    cosine, sine = angles.cos(), angles.sin()
    return Rotation(torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1))


def places(start: int, count: int, like: Tensor) -> Tensor:
    """The places from `start` on, on the device of `like`."""
    return torch.arange(start, start + count, device=like.device)
