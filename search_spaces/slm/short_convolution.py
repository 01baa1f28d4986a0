"""A gated convolution over a few tokens, as most layers of LFM2 are (Liquid AI, "LFM2 technical report", 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from search_spaces.layers import Layers
from search_spaces.slm.mixer import Mixer
from search_spaces.workload import Shape


class ShortConvolution(Mixer):
    """Tokens times a gate pass a causal depthwise convolution, and then another gate; all three are linear in the token.

    State: what the convolution read last, shape (n, kernel - 1, width).

    Args:
        layers: makes the layers.
        width: of a token.
        kernel: tokens that the convolution sees.
    """

    def __init__(self, layers: Layers, width: int, kernel: int) -> None:
        super().__init__()
        self.project = layers.linear(width, 3 * width, bias=False, parts=3)
        self.convolution = layers.causal_conv(width, kernel)
        self.output = layers.linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        gated, gate = self._gated(x)
        mixed, last = self.convolution.prefill(gated)
        return self.output(mixed * gate), last

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        gated, gate = self._gated(x)
        mixed, last = self.convolution.step(gated, *state)
        return self.output(mixed * gate), last

    def _gated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is convolved, and the gate that comes after."""
        width, y = x.shape[-1], self.project(x)
        return y[..., :width] * y[..., 2 * width :], y[..., width : 2 * width]

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        return ((1, arguments["kernel"] - 1, arguments["width"]),)
