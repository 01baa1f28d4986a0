"""A size that no tensor has."""

from __future__ import annotations

from torch import nn


class Size(nn.Module):
    """A number behind a module, such as the width of a window, so that the supernet can take another one.

    Args:
        value: the number.
    """

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def extra_repr(self) -> str:
        return str(self.value)
