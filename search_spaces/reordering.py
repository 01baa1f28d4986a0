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


def input_importance(reader: nn.Module) -> Tensor:
    """L1 norm of the weights that read each input of `reader`, a convolution or linear layer."""
    weight: Tensor = reader.get_parameter("weight").detach()
    return weight.abs().transpose(0, 1).flatten(1).sum(1)


def falling_importance(reader: nn.Module, blocks: int = 1) -> Tensor:
    """Order of the inputs of `reader`, a convolution or linear layer, by falling L1 norm of the weights that read them.

    Args:
        blocks: equal blocks of inputs, within each of which they are ordered.
    """
    importance = input_importance(reader).view(blocks, -1)
    order = importance.argsort(dim=1, descending=True, stable=True)
    offsets = torch.arange(blocks, device=order.device)[:, None] * importance.shape[1]
    return (order + offsets).flatten()


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
