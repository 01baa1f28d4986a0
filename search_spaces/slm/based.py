"""Linear attention that approximates softmax attention by a Taylor series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from search_spaces.layers import Layers
from search_spaces.slm.linear_mixer import Attending, LinearMixer, head_sizes, heads_of, sizes_of, together
from search_spaces.workload import Shape

EPSILON = 1e-6  # added to the sum of the weights, which is positive


class Based(LinearMixer):
    """The linear attention of BASED (Arora et al., "Simple linear attention language models balance the recall-throughput
    tradeoff", ICML 2024).

    Queries and keys of f numbers are mapped to `1 + f + f^2` ones whose inner product is the beginning of the series of
    `exp(q k' / sqrt f)`: 1, `x / f^(1/4)`, and all products of two entries over `sqrt(2 f)`. The outputs are averages of
    the values with these weights, so the state holds their sum beside those of the values.

    Its state, see `state_shapes`, is one tensor of shape (n, heads, 1 + state + state^2, value_width + 1).

    Args:
        layers: makes the layers.
        width: of the model.
        heads: how many there are; the same in a supernet and its subnets.
        state: f, the numbers of a query before they are mapped.
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
        self.output = layers.linear(heads * values, width, bias=False, follows=self.value)

    def read(self, x: Tensor) -> Attending:
        q, k = (mapped(heads_of(role(x), self.heads)) for role in (self.query, self.key))
        v = heads_of(self.value(x), self.heads)
        one = torch.ones(*v.shape[:3], 1, dtype=v.dtype, device=v.device)
        return Attending(q, k, torch.cat([v, one], dim=-1))

    def write(self, x: Tensor, outputs: Tensor) -> Tensor:
        averages = outputs[..., :-1] / (outputs[..., -1:] + EPSILON)
        result: Tensor = self.output(together(averages))
        return result

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        heads, features, values = sizes_of(arguments)
        return ((1, heads, 1 + features + features**2, values + 1),)


def mapped(x: Tensor) -> Tensor:
    """Of vectors in the last dimension those whose inner products are `1 + s + s^2 / 2`, s being the scaled ones of `x`."""
    size = x.shape[-1]
    one = torch.ones(*x.shape[:3], 1, dtype=x.dtype, device=x.device)
    products = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(3)
    return torch.cat([one, x * size**-0.25, products * (2 * size) ** -0.5], dim=-1)
