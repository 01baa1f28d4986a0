"""One operation out of several that have weights of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class OneOf(nn.Module):
    """Runs one of its options, which are numbered.

    Args:
        options: makes the module of each number; what they make has no elastic layers.
        kept: the numbers of those that it holds; the last one runs.
    """

    def __init__(self, options: Sequence[Callable[[], nn.Module]], kept: Sequence[int]) -> None:
        super().__init__()
        self.options = nn.ModuleDict({f"option{number}": options[number]() for number in kept})
        self.chosen = kept[-1]

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.options[f"option{self.chosen}"](x)
        return result
