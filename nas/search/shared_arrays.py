"""Arrays as tensors, without a copy."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def shared(array: NDArray[Any]) -> Tensor:
    """A tensor on the memory of an array, which may be read-only: nobody may write to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
