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


class Positions(Parameter):
    """Learned positions of tokens, shape (1, leading + grid * grid, features), drawn from a normal distribution.

    Args:
        grid: rows, and columns, of the tokens that come from an image.
        features: of a token.
        leading: tokens before them, such as the class token.
    """

    def __init__(self, grid: int, features: int, leading: int = 0) -> None:
        super().__init__(1, leading + grid * grid, features)
        self.leading = leading
        nn.init.normal_(self.weight, std=0.02)  # as of BERT and all vision transformers since
