"""A learned tensor that is no weight of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Parameter(nn.Module):
    """A learned tensor behind a module, so that the supernet can hold a larger one.

    Args:
        shape: of the tensor.
        fill: its first value.
    """

    def __init__(self, *shape: int, fill: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, fill))

    def forward(self) -> Tensor:
        return self.weight
