"""Matrices of a language model whose rows or columns can be kept at length one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from search_spaces.elastic.linear import ElasticLinear


class UnitNorm(NamedTuple):
    """A matrix, and the dimension along which its vectors are to have length one."""

    weight: nn.Parameter
    dim: int

    @torch.no_grad()
    def project(self) -> None:
        """Divide every vector by its length; a zero vector stays zero."""
        self.weight.copy_(F.normalize(self.weight, dim=self.dim))


def unit_norms(block: nn.Module) -> list[UnitNorm]:
    """The weights of all linear layers of a residual block, static or elastic.

    Fu et al., "Nemotron-Flash: Towards latency-optimal hybrid small language models" (NeurIPS 2025), section 3.3: matrices
    that read the features of a token have rows of length one, those whose outputs are added to them columns. The latter
    are called `output` in all blocks.

    Args:
        block: what else it has than linear layers (normalisation, convolutions, biases, decays) is left out.
    """
    return [
        UnitNorm(layer.get_parameter("weight"), 0 if name.rpartition(".")[2] == "output" else 1)
        for name, layer in block.named_modules()
        if isinstance(layer, nn.Linear | ElasticLinear)
    ]
