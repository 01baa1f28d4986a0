"""A tensor that is computed, not learned."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Constant(nn.Module):
    """What a function makes of a size, behind a module, so that the supernet can take another size.

    Args:
        make: gives the tensor, on torch's default device.
        size: its argument.
    """

    value: Tensor

    def __init__(self, make: Callable[[int], Tensor], size: int) -> None:
        super().__init__()
        self.make, self.size = make, size
        self.register_buffer("value", make(size))

    def forward(self) -> Tensor:
        return self.value

    def extra_repr(self) -> str:
        return f"{getattr(self.make, '__name__', self.make)}({self.size})"
