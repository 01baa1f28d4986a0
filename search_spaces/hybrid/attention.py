"""Attention between the pixels of images."""

from __future__ import annotations

import torch
from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., NeurIPS 2017) with channels before pixels.

    Args:
        query: shape (..., d, pixels).
        key: shape (..., d, pixels).
        value: shape (..., channels, pixels).

    Returns:
        Shape (..., channels, pixels).
    """
    scores = query.transpose(-2, -1) @ key * query.shape[-2] ** -0.5
    return (torch.softmax(scores, dim=-1) @ value.transpose(-2, -1)).transpose(-2, -1)
