"""The two layouts of an image."""

from __future__ import annotations

from torch import Tensor


def to_tokens(image: Tensor) -> Tensor:
    """Shape (n, height * width, channels), row by row, of an image of shape (n, channels, height, width)."""
    return image.flatten(2).transpose(1, 2)


def to_image(tokens: Tensor, height: int, width: int) -> Tensor:
    """What `to_tokens` had been given."""
    image: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
    return image
