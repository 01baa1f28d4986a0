"""Gated DeltaNet: the delta rule on a state that fades at a pace that the token decides."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.slm.delta_net import DeltaNet
from search_spaces.slm.linear_mixer import Attending, fading, head_sizes, heads_of, initialise_decays, together


class GatedDeltaNet(DeltaNet):
    """The mixer of Gated DeltaNet (Yang, Kautz and Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule",
    ICLR 2025), as in Qwen3-Next.

    What `DeltaNet` does, with the decay `-exp(a) softplus(x W + b)` of each head, and with SiLU of a gate by which the
    normalised outputs are multiplied.

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

    def __init__(
        self, layers: Layers, width: int, heads: int, state: int, value_width: int | None = None, kernel: int = 4
    ) -> None:
        super().__init__(layers, width, heads, state, value_width, kernel)
        values = head_sizes(width, heads, state, value_width).values
        self.gate = layers.linear(width, heads * values, bias=False, parts=heads)
        self.pace = layers.linear(width, heads, bias=False)
        self.pace_bias, self.log_decay = layers.parameter(heads), layers.parameter(heads)
        initialise_decays(self.log_decay.weight, self.pace_bias.weight)

    def read(self, x: Tensor, convolved: tuple[Tensor, ...]) -> Attending:
        steps = heads_of(F.softplus(self.pace(x).float() + self.pace_bias()), self.heads)
        return super().read(x, convolved)._replace(decay=fading(steps, self.log_decay()))

    def write(self, x: Tensor, convolved: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        gate = F.silu(heads_of(self.gate(x), self.heads))
        result: Tensor = self.output(together(self.norm(outputs) * gate))
        return result
