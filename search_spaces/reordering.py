"""What was moved when channels were sorted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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


def reorder(layer: nn.Module, dim: int, order: Tensor) -> list[Reordering]:
    """Permute a dimension of the layer's weight and, with the first one, of all its vectors."""
    tensors: list[Tensor] = [layer.get_parameter("weight")]
    if dim == 0:
        vectors = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
        tensors += [tensor for name, tensor in vectors if name != "weight" and tensor.dim() == 1]
    moved = [Reordering(tensor, dim, order) for tensor in tensors]
    for reordering in moved:
        reordering.apply(reordering.tensor)
    return moved
