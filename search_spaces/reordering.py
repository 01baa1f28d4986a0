"""What was moved when channels were sorted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reordering:
    """A permutation of one dimension of a tensor, to be applied to all that goes with it (momentum, averages).

    Attributes:
        tensor: the parameter or buffer that was permuted.
        dim: the dimension.
        order: index in the old tensor of each new entry.
    """

    tensor: Tensor
    dim: int
    order: Tensor

    @torch.no_grad()
    def apply(self, other: Tensor) -> None:
        """Permute `other`, a tensor of the same shape, in place."""
        other.copy_(other.index_select(self.dim, self.order))
