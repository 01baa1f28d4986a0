"""Checks of the options of spaces."""

from __future__ import annotations

from collections.abc import Sequence


def check_positive(**sizes: int | float | Sequence[int]) -> None:
    """Raise `ValueError` when a size, or one of a list of sizes, is not positive; it is named."""
    for name, value in sizes.items():
        values = [value] if isinstance(value, int | float) else list(value)
        if min(values, default=0) <= 0:
            raise ValueError(f"{name} must be positive, not {value}")
