"""Retention: linear attention whose heads forget at fixed paces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.slm.linear_mixer import Attending, LinearMixer, head_sizes, heads_of, sizes_of, together
from search_spaces.workload import Shape


class RetNet(LinearMixer):
    """Multi-scale retention (Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models",
    2023).

    The states of head h = 0, 1, ... are multiplied by `1 - 2^(-5-h)` at every token; the outputs of each head are
    normalised by their root mean square and multiplied by SiLU of a gate. Queries and keys are not rotated: positions
    differ by their decay alone, and so the state needs no count of tokens.

    Its state, see `state_shapes`, is one tensor of shape (n, heads, state, value_width).

    Args:
        layers: makes the layers.
        width: of the model.
        heads: how many there are; the same in a supernet and its subnets.
        state: numbers of a key of each head.
        value_width: numbers of a value of each head; `width / heads` unless given.

    Raises:
        ValueError: when the width is no multiple of the heads, and `value_width` is not given.
    """

    def __init__(self, layers: Layers, width: int, heads: int, state: int, value_width: int | None = None) -> None:
        super().__init__()
        self.heads, keys, values = head_sizes(width, heads, state, value_width)
        self.query = layers.linear(width, heads * keys, bias=False, parts=heads)
        self.key = layers.linear(width, heads * keys, bias=False, parts=heads)
        self.value = layers.linear(width, heads * values, bias=False, parts=heads)
        self.gate = layers.linear(width, heads * values, bias=False, parts=heads)
        self.decay = layers.constant(log_decays, heads)
        self.norm = layers.rms_norm(values)
        self.output = layers.linear(heads * values, width, bias=False, follows=self.value)

    def read(self, x: Tensor) -> Attending:
        q, k, v = (heads_of(role(x), self.heads) for role in (self.query, self.key, self.value))
        decay = self.decay()[None, :, None, None].expand(1, self.heads, x.shape[1], 1)
        return Attending(q * q.shape[-1] ** -0.5, k, v, decay)

    def write(self, x: Tensor, outputs: Tensor) -> Tensor:
        gate = F.silu(heads_of(self.gate(x), self.heads))
        result: Tensor = self.output(together(self.norm(outputs) * gate))
        return result

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        return ((1, *sizes_of(arguments)),)


def log_decays(heads: int) -> Tensor:
    """Logarithms of the factors of each head."""
    return torch.log1p(-torch.exp2(-5.0 - torch.arange(heads)))
