"""How the expected latency enters the loss: the published forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

#: A loss and an expected cost, and a cost to compare with, to a loss.
Penalty = Callable[[Tensor, Tensor, float, float, float], Tensor]


def multiplied(loss: Tensor, cost: Tensor, reference: float, alpha: float, beta: float) -> Tensor:
    """`loss * alpha * (log cost / log reference) ^ beta`: ProxylessNAS's published code (alpha .2, beta .3)."""
    return loss * alpha * (cost.log() / math.log(reference)) ** beta


def unreferenced(loss: Tensor, cost: Tensor, reference: float, alpha: float, beta: float) -> Tensor:
    """`loss * alpha * (log cost) ^ beta`: FBNet, equation 2 (alpha .2, beta .6)."""
    return loss * alpha * cost.log() ** beta


def added(loss: Tensor, cost: Tensor, reference: float, alpha: float, beta: float) -> Tensor:
    """`loss + alpha * (cost - reference) / reference`: ProxylessNAS, equation 7, in units of the reference; without
    `beta`."""
    return loss + alpha * (cost - reference) / reference


PENALTIES: Mapping[str, Penalty] = MappingProxyType(
    {"multiplied": multiplied, "unreferenced": unreferenced, "added": added}
)
