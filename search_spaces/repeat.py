"""A chain of equal blocks within a module."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Repeat(nn.Module):
    """Runs `count` blocks one after the other.

    Args:
        make: makes a block.
        count: how many there are.
    """

    def __init__(self, make: Callable[[], nn.Module], count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(make() for _ in range(count))
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks[: self.count]:
            x = block(x)
        return x
