"""Tensors as text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor


def to_text(tensors: Mapping[str, Tensor]) -> str:
    """Base64 of a safetensors file."""
    return base64.b64encode(save({name: value.contiguous() for name, value in tensors.items()})).decode("ascii")


def from_text(text: str) -> dict[str, Tensor]:
    """What `to_text` wrote.

    Raises:
        ValueError: when it is damaged.
    """
    try:
        return dict(load(base64.b64decode(text, validate=True)))
    except (binascii.Error, SafetensorError) as error:
        raise ValueError(f"the saved tensors are damaged: {error}") from error
