"""What mixers of the family of linear attention have in common: how they run, whatever they compute."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import accumulate
from math import log, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.causal_conv import CausalConv
from search_spaces.rms_norm import rms_norm
from search_spaces.slm.linear_attention import linear_attention, linear_attention_of_prompt, linear_attention_step
from search_spaces.slm.mixer import Mixer


class Attending(NamedTuple):
    """What linear attention reads, see `search_spaces.slm.linear_attention`."""

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor | None = None
    beta: Tensor | None = None


class LinearMixer(Mixer):
    """Linear attention of what is read from each token by itself. Its state is that of the heads."""

    @abstractmethod
    def read(self, x: Tensor) -> Attending:
        """Queries, keys, values, decays and rates of tokens, shape (n, t, width)."""

    @abstractmethod
    def write(self, x: Tensor, outputs: Tensor) -> Tensor:
        """The mixed tokens, of the tokens and the outputs of the heads, shape (n, heads, t, values)."""

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = linear_attention(**self.read(x)._asdict())
        return self.write(x, outputs)

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs, state = linear_attention_of_prompt(**self.read(x)._asdict())
        return self.write(x, outputs), state

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        (heads,) = state
        outputs, heads = linear_attention_step(**self.read(x)._asdict(), state=heads)
        return self.write(x, outputs), heads


class ConvolvedMixer(Mixer):
    """Linear attention of what is read after a short causal convolution and SiLU.

    The state is that of the heads, then the last inputs of the convolution.

    Attributes:
        convolution: of all that `project` gives, side by side.
    """

    convolution: CausalConv

    @abstractmethod
    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """What is convolved, each of shape (n, t, channels), of tokens, shape (n, t, width)."""

    @abstractmethod
    def read(self, x: Tensor, convolved: tuple[Tensor, ...]) -> Attending:
        """Queries, keys, values, decays and rates, of tokens and what was convolved."""

    @abstractmethod
    def write(self, x: Tensor, convolved: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        """The mixed tokens, of both and the outputs of the heads, shape (n, heads, t, values)."""

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(x)
        convolved = _activated(self.convolution(torch.cat(projected, dim=-1)), projected)
        outputs, _ = linear_attention(**self.read(x, convolved)._asdict())
        return self.write(x, convolved, outputs)

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        projected = self.project(x)
        mixed, last = self.convolution.prefill(torch.cat(projected, dim=-1))
        convolved = _activated(mixed, projected)
        outputs, heads = linear_attention_of_prompt(**self.read(x, convolved)._asdict())
        return self.write(x, convolved, outputs), heads, last

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        heads, last = state
        projected = self.project(x)
        mixed, last = self.convolution.step(torch.cat(projected, dim=-1), last)
        convolved = _activated(mixed, projected)
        outputs, heads = linear_attention_step(**self.read(x, convolved)._asdict(), state=heads)
        return self.write(x, convolved, outputs), heads, last


def _activated(mixed: Tensor, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """SiLU of what was convolved, in as many parts of the same sizes as `like`."""
    ends = list(accumulate(part.shape[-1] for part in like))
    mixed = F.silu(mixed)
    return tuple(mixed[..., start:end] for start, end in zip([0, *ends], ends, strict=False))


class Sizes(NamedTuple):
    """Of the heads of a mixer.

    Attributes:
        heads: how many there are.
        keys: numbers of a key, and of a query.
        values: numbers of a value.
    """

    heads: int
    keys: int
    values: int


def head_sizes(width: int, heads: int, state: int, value_width: int | None = None, expansion: int = 1) -> Sizes:
    """Sizes from the arguments of a mixer.

    Args:
        width: of the model.
        heads: how many there are.
        state: numbers of a key of each head.
        value_width: numbers of a value of each head; unless given, all values together are `expansion` times the width.

    Raises:
        ValueError: when the width is no multiple of the heads, and `value_width` is not given.
    """
    if value_width is None and width * expansion % heads:
        raise ValueError(f"a width of {width} gives {heads} heads no values of equal size")
    return Sizes(heads, state, value_width or width * expansion // heads)


def sizes_of(arguments: Mapping[str, Any], expansion: int = 1) -> Sizes:
    """The same from arguments by name, some of which may be for other things."""
    names = ("width", "heads", "state", "value_width")
    return head_sizes(**{name: arguments[name] for name in names if name in arguments}, expansion=expansion)


def heads_of(x: Tensor, heads: int) -> Tensor:
    """The heads that the last dimension is laid out in, apart: shape (n, heads, t, features)."""
    result: Tensor = x.unflatten(2, (heads, -1)).transpose(1, 2)
    return result


def together(x: Tensor) -> Tensor:
    """The heads side by side: the inverse of `heads_of`."""
    return x.transpose(1, 2).flatten(2)


def of_length(x: Tensor, length: float) -> Tensor:
    """Vectors of the last dimension with that length: divided by the root of the sum of their squares and 1e-6."""
    size = x.shape[-1]
    one = torch.ones(size, dtype=torch.float32, device=x.device)
    return rms_norm(x, one, 1e-6 / size) * (length / sqrt(size))


def fading(steps: Tensor, log_decay: Tensor) -> Tensor:
    """Decays, of steps, shape (n, heads, t, 1), and the logarithms of the decays per step of each head.

    The steps change their sign, not the constants: so a workload knows that states fade, and one that is run with other
    constants does not overflow."""
    return steps * -1.0 * torch.exp(log_decay)[:, None, None]


@torch.no_grad()
def initialise_decays(log_decay: Tensor, step_bias: Tensor) -> None:
    """As Mamba-2 begins: decays of 1 to 16, and steps between 0.001 and 0.1, uniform in their logarithm."""
    nn.init.uniform_(log_decay, 1, 16).log_()
    step = torch.empty_like(step_bias).uniform_(log(0.001), log(0.1)).exp()
    step_bias.copy_(step + torch.log(-torch.expm1(-step)))  # of which softplus is the step
