"""Mamba-2: a state space model whose heads forget at a pace that the token decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.rms_norm import rms_norm
from search_spaces.slm.linear_mixer import (
    Attending,
    ConvolvedMixer,
    fading,
    head_sizes,
    heads_of,
    initialise_decays,
    sizes_of,
    together,
)
from search_spaces.workload import Shape

EXPANSION = 2  # of the width, as published
EPSILON = 1e-5


class Mamba2(ConvolvedMixer):
    """The mixer of Mamba-2 (Dao and Gu, "Transformers are SSMs", ICML 2024), with one group.

    Values (of each head), keys and queries (of all heads together; B and C in the paper) go through one causal
    convolution and SiLU. With steps `s = softplus(x W + b)` of each head, linear attention of the values times s and
    the decays `-exp(a) s` gives the outputs, to which the values times a weight of the head are added. All heads
    together are multiplied by SiLU of a gate, and normalised by their root mean square.

    Its state, see `state_shapes`, is two tensors: (n, heads, state, value_width), and the last inputs of the convolution,
    (n, kernel - 1, heads * value_width + 2 * state).

    Args:
        layers: makes the layers.
        width: of the model.
        heads: how many there are; the same in a supernet and its subnets.
        state: numbers of a key (N in the paper).
        value_width: numbers of a value of each head (P in the paper); `2 * width / heads` unless given.
        kernel: of the convolution.

    Raises:
        ValueError: when twice the width is no multiple of the heads, and `value_width` is not given.
    """

    def __init__(
        self, layers: Layers, width: int, heads: int, state: int, value_width: int | None = None, kernel: int = 4
    ) -> None:
        super().__init__()
        self.heads, keys, values = head_sizes(width, heads, state, value_width, EXPANSION)
        self.gate = layers.linear(width, heads * values, bias=False, parts=heads)
        self.value = layers.linear(width, heads * values, bias=False, parts=heads)
        self.key = layers.linear(width, keys, bias=False)
        self.query = layers.linear(width, keys, bias=False)
        self.step_size = layers.linear(width, heads, bias=False)
        self.convolution = layers.causal_conv((*[values] * heads, keys, keys), kernel, bias=True)
        self.step_bias, self.log_decay = layers.parameter(heads), layers.parameter(heads)
        self.skip = layers.parameter(heads, fill=1.0)
        self.scale = layers.parameter(heads, values, fill=1.0)
        self.output = layers.linear(heads * values, width, bias=False, follows=self.value)
        initialise_decays(self.log_decay.weight, self.step_bias.weight)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.value(x), self.key(x), self.query(x)

    def read(self, x: Tensor, convolved: tuple[Tensor, ...]) -> Attending:
        values, k, q = convolved
        steps = heads_of(F.softplus(self.step_size(x).float() + self.step_bias()), self.heads)
        decay = fading(steps, self.log_decay())
        return Attending(q.unsqueeze(1), k.unsqueeze(1), heads_of(values, self.heads) * steps, decay)

    def write(self, x: Tensor, convolved: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        outputs = together(outputs + heads_of(convolved[0], self.heads) * self.skip()[:, None, None])
        outputs = rms_norm(outputs * F.silu(self.gate(x)), self.scale().flatten(), EPSILON)
        result: Tensor = self.output(outputs)
        return result

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        heads, keys, values = sizes_of(arguments, EXPANSION)
        return (1, heads, keys, values), (1, arguments.get("kernel", 4) - 1, heads * values + 2 * keys)
