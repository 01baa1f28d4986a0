"""Gated linear attention: every key dimension forgets at a pace that the token decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.slm.linear_mixer import Attending, LinearMixer, head_sizes, heads_of, sizes_of, together
from search_spaces.workload import Shape

RANK = 16  # of the map from tokens to decays, as published
SLOWNESS = 16.0  # by which the logarithm of a sigmoid is divided, as published


class GatedLinearAttention(LinearMixer):
    """The mixer of GLA (Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training", ICML 2024).

    Linear attention with a decay `log sigmoid(x W_down W_up + b) / 16` for each key dimension; the outputs of each head
    are normalised by their root mean square and multiplied by SiLU of a gate.

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
        self.decay_down = layers.linear(width, RANK, bias=False)
        self.decay_up = layers.linear(RANK, heads * keys, parts=heads)
        self.norm = layers.rms_norm(values)
        self.output = layers.linear(heads * values, width, bias=False, follows=self.value)

    def read(self, x: Tensor) -> Attending:
        q, k, v = (heads_of(role(x), self.heads) for role in (self.query, self.key, self.value))
        logits = heads_of(self.decay_up(self.decay_down(x)), self.heads).float()
        decay = F.softplus(logits * -1.0) * (-1 / SLOWNESS)
        return Attending(q * q.shape[-1] ** -0.5, k, v, decay)

    def write(self, x: Tensor, outputs: Tensor) -> Tensor:
        gate = F.silu(heads_of(self.gate(x), self.heads))
        result: Tensor = self.output(together(self.norm(outputs) * gate))
        return result

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        return ((1, *sizes_of(arguments)),)
