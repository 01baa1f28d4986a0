"""Hidden-state mixer: pixels talk to each other through a few states of the whole image.

The smallest published network, EfficientViM-M1 (6.7 M parameters, 239 M MACs at 224 px), is made of

* a stem of four 3 x 3 convolutions with stride 2 and 16, 32, 64, 128 channels, normalised, ReLU between them;
* three stages of two blocks: 128, 192, 320 channels on images of 14, 7, 4 pixels, with 49, 25, 9 states and a
  feed-forward part four times as wide;
* between them an inverted residual without residual: 1 x 1 to four times the channels *of the next stage*, ReLU, 3 x 3
  with stride 2, ReLU, squeeze-excite (a quarter of the hidden channels, rounded to a multiple of 8), 1 x 1; a
  depthwise 3 x 3 convolution with a residual stands before it and another one after it;
* a classifier for each stage, which reads the mean of the layer-normalised states of its last block (see
  `HiddenStateMixer.with_states`), and one that reads the mean of the layer-normalised last image; the logits are the
  mean of the four with learned weights (softmax).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.convnet.blocks import FusedMBConv, MBConv
from search_spaces.hybrid.tokens import to_image, to_tokens
from search_spaces.layers import Layers


class HiddenStateMixer(nn.Module):
    """Block of EfficientViM (Lee, Choi and Kim, CVPR 2025): depthwise convolution, mixer, depthwise convolution,
    feed-forward part. Each gives a new image; a learned gate per channel says how much of it replaces the old one.

    The mixer is a state space model without a causal order (HSM-SSD). With input tokens x, shape (L, channels), and
    B, C, dt, shape (states, L), that are a 1 x 1 and a depthwise convolution of them:

        h = (softmax_L(dt) * B) x,    h <- W_out (W_value h * (silu(W_gate h) + D)),    y = C' h

    so that the gate and the projections work on a few states instead of all pixels. (The paper adds a learned number
    per state to dt; the softmax does not see it, and so it is left out.)

    Args:
        layers: makes the layers.
        channels: of the image.
        hidden: channels of the feed-forward part.
        resolution: height and width of the image; the same weights serve all.
        states: how many there are.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, resolution: int, states: int = 49) -> None:
        super().__init__()
        self.before, self.after = _Depthwise(layers, channels), _Depthwise(layers, channels)
        self.norm = layers.layer_norm(channels)
        self.step, self.input, self.output = (_StateProjection(layers, channels, states) for _ in range(3))
        self.value = layers.linear(channels, channels, bias=False)
        self.gate = layers.linear(channels, channels, bias=False)
        self.skip = layers.parameter(1, fill=1.0)
        self.project = layers.linear(channels, channels, bias=False)
        self.feed_forward = _FeedForward(layers, channels, channels, hidden, 1, 1, "relu")
        nn.init.zeros_(self.feed_forward.project_norm.get_parameter("weight"))
        self.shares = layers.parameter(4, channels, fill=1e-4)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_states(x)[0]

    def with_states(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The result, and the states that it was read from, shape (n, states, channels)."""
        shares = torch.sigmoid(self.shares())[:, :, None, None]
        x = _blend(x, self.before(x), shares[0])
        mixed, states = self.mix(x)
        x = _blend(x, mixed, shares[1])
        x = _blend(x, self.after(x), shares[2])
        return _blend(x, self.feed_forward(x), shares[3]), states

    def mix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mixer alone: its image, and the states."""
        height, width = x.shape[2:]
        tokens = self.norm(to_tokens(x))
        image = to_image(tokens, height, width)
        states = (torch.softmax(self.step(image), dim=-1) * self.input(image)) @ tokens
        states = self.project(self.value(states) * (F.silu(self.gate(states)) + self.skip()))
        return (states.transpose(1, 2) @ self.output(image)).unflatten(2, (height, width)), states


class _StateProjection(nn.Module):
    """One number for each state and pixel, shape (n, states, L)."""

    def __init__(self, layers: Layers, channels: int, states: int) -> None:
        super().__init__()
        self.project = layers.conv(channels, states)
        self.depthwise = layers.conv(states, states, 3, groups=states)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.depthwise(self.project(x)).flatten(2)
        return result


class _Depthwise(nn.Module):
    """A depthwise convolution that gives nothing at first."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv = layers.conv(channels, channels, 3, groups=channels)
        self.norm = layers.norm(channels)
        nn.init.zeros_(self.norm.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result


class _FeedForward(FusedMBConv):
    """Two 1 x 1 convolutions; the residual is left to the block."""

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return y


class DepthwiseMerging(nn.Module):
    """Inverted residual that changes the shape, between two depthwise convolutions with a residual, which do not.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        hidden: channels of the inverted residual.
        stride: of the inverted residual.
        squeeze: hidden channels of its squeeze-excite.
    """

    def __init__(
        self, layers: Layers, in_channels: int, out_channels: int, hidden: int, stride: int, squeeze: int
    ) -> None:
        super().__init__()
        self.before, self.after = _Depthwise(layers, in_channels), _Depthwise(layers, out_channels)
        self.merge = _Merging(layers, in_channels, out_channels, hidden, 3, stride, "relu", squeeze)

    def forward(self, x: Tensor) -> Tensor:
        x = self.merge(x + self.before(x))
        result: Tensor = x + self.after(x)
        return result


class _Merging(MBConv):
    """Without residual, whatever the shapes."""

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return y


def _blend(old: Tensor, new: Tensor, share: Tensor) -> Tensor:
    return (1 - share) * old + share * new
