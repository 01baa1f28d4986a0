"""DeltaNet: linear attention that replaces what a key had before instead of adding to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from search_spaces.layers import Layers
from search_spaces.slm.linear_attention import LONGEST_PROMPT
from search_spaces.slm.linear_mixer import (
    Attending,
    ConvolvedMixer,
    head_sizes,
    heads_of,
    of_length,
    sizes_of,
    together,
)
from search_spaces.workload import Shape


class DeltaNet(ConvolvedMixer):
    """The mixer of DeltaNet (Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
    NeurIPS 2024).

    Queries, keys and values go through a causal convolution and SiLU; queries and keys are then made to have length 1,
    and queries divided by the root of their size. Linear attention with the rate `sigmoid(x W)` of each head gives the
    outputs, which are normalised by their root mean square.

    Its state, see `state_shapes`, is two tensors: (n, heads, state, value_width), and the last inputs of the convolution,
    (n, kernel - 1, heads * (2 * state + value_width)).

    Args:
        layers: makes the layers.
        width: of the model.
        heads: how many there are; the same in a supernet and its subnets.
        state: numbers of a key of each head.
        value_width: numbers of a value of each head; `width / heads` unless given.
        kernel: of the convolution.

    Raises:
        ValueError: when the width is no multiple of the heads, and `value_width` is not given.
    """

    longest_prompt = LONGEST_PROMPT

    def __init__(
        self, layers: Layers, width: int, heads: int, state: int, value_width: int | None = None, kernel: int = 4
    ) -> None:
        super().__init__()
        self.heads, keys, values = head_sizes(width, heads, state, value_width)
        self.query = layers.linear(width, heads * keys, bias=False, parts=heads)
        self.key = layers.linear(width, heads * keys, bias=False, parts=heads)
        self.value = layers.linear(width, heads * values, bias=False, parts=heads)
        self.convolution = layers.causal_conv([keys] * 2 * heads + [values] * heads, kernel)
        self.rate = layers.linear(width, heads, bias=False)
        self.norm = layers.rms_norm(values)
        self.output = layers.linear(heads * values, width, bias=False, follows=self.value)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.query(x), self.key(x), self.value(x)

    def read(self, x: Tensor, convolved: tuple[Tensor, ...]) -> Attending:
        q, k, v = (heads_of(part, self.heads) for part in convolved)
        beta = heads_of(torch.sigmoid(self.rate(x)), self.heads)
        return Attending(of_length(q, q.shape[-1] ** -0.5), of_length(k, 1.0), v, beta=beta)

    def write(self, x: Tensor, convolved: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        result: Tensor = self.output(together(self.norm(outputs)))
        return result

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        heads, keys, values = sizes_of(arguments)
        return (1, heads, keys, values), (1, arguments.get("kernel", 4) - 1, heads * (2 * keys + values))
