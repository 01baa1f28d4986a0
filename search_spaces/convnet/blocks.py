"""The blocks of convolutional networks, written once for static and elastic layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import torch
from torch import Tensor, nn

from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, falling_importance, reorder

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}

# Of squeeze-excite by its gate: what follows the first and the second layer.
_GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "hardsigmoid": (torch.relu, nn.functional.hardsigmoid),
    "sigmoid": (nn.functional.silu, torch.sigmoid),
    "relu_sigmoid": (torch.relu, torch.sigmoid),
}


def activation_of(name: str) -> nn.Module:
    """The activation `relu`, `hardswish`, `silu` or `identity`."""
    return _ACTIVATIONS[name]()


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, at most 10 % down (as MobileNet's authors do).

    Raises:
        ValueError: when `channels` is not positive.
    """
    if channels <= 0:
        raise ValueError(f"a layer has a positive number of channels, not {channels}")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def pixels(values: Mapping[str, int | float | str], reduction: int) -> int:
    """Height and width of an image after strides of which `reduction` is the product, by the choice `resolution`."""
    return ceil(int(values["resolution"]) / reduction)


def check_sizes(
    resolutions: Sequence[int], depths: Sequence[int], kernels: Sequence[int], expansions: Sequence[float]
) -> None:
    """Raise `ValueError` when one of the sizes of a space of blocks is not positive, or a kernel is even."""
    sizes: dict[str, Sequence[float]] = {
        "resolutions": resolutions,
        "depths": depths,
        "kernels": kernels,
        "expansions": expansions,
    }
    for name, values in sizes.items():
        if min(values, default=0) < 1:
            raise ValueError(f"{name} must be positive numbers, not {list(values)}")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels must be odd, so that padding keeps the size, not {list(kernels)}")


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the mean of all channels (Hu et al., CVPR 2018).

    The gate is a `hardsigmoid` after ReLU (MobileNetV3), a `sigmoid` after SiLU (EfficientNet), or a sigmoid after
    ReLU, `relu_sigmoid` (MnasNet).
    """

    def __init__(self, layers: Layers, channels: int, squeeze: int, gate: str = "hardsigmoid") -> None:
        super().__init__()
        self.gate = gate
        self.reduce = layers.conv(channels, squeeze, bias=True)
        self.expand = layers.conv(squeeze, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        between, after = _GATES[self.gate]
        return x * after(self.expand(between(self.reduce(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """A block with hidden channels that may be reordered without changing the function.

    With stride 1 and as many output as input channels the input is added to the output.
    """

    stride: int

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """`x + y` where the shapes allow it."""
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y

    def sort_channels(self) -> list[Reordering]:
        """Order the hidden channels by falling importance, so that a prefix keeps the most important ones.

        Importance is the L1 norm of the weights that read a channel (once-for-all).

        Returns:
            What was moved.
        """
        return []


class MBConv(Block):
    """Inverted residual: 1x1 expansion, depthwise convolution, squeeze-excite, 1x1 projection (MobileNetV2, V3).

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        hidden: channels of the depthwise convolution; equal to `in_channels` there is no expansion.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        activation: `relu`, `relu6`, `hardswish` or `silu`.
        squeeze: hidden channels of squeeze-excite; 0 leaves it out.
        expand: whether there is a 1x1 expansion.
        gate: of squeeze-excite, `hardsigmoid`, `sigmoid` or `relu_sigmoid`.
        epsilon: of batch normalisation; by default that of `layers`.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        hidden: int,
        kernel: int,
        stride: int,
        activation: str,
        squeeze: int = 0,
        expand: bool = True,
        gate: str = "hardsigmoid",
        epsilon: float | None = None,
    ) -> None:
        super().__init__()
        layers = layers if epsilon is None else layers.adjusted(epsilon, layers.padding)
        self.stride = stride
        self.expand = layers.conv(in_channels, hidden) if expand else None
        self.expand_norm = layers.norm(hidden) if expand else None
        self.depthwise = layers.conv(hidden, hidden, kernel, stride, groups=hidden)
        self.depthwise_norm = layers.norm(hidden)
        self.squeeze_excite = SqueezeExcite(layers, hidden, squeeze, gate) if squeeze else None
        self.project = layers.conv(hidden, out_channels)
        self.project_norm = layers.norm(out_channels)
        self.act = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand is not None and self.expand_norm is not None:
            y = self.act(self.expand_norm(self.expand(y)))
        y = self.act(self.depthwise_norm(self.depthwise(y)))
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(y)
        return self.residual(x, self.project_norm(self.project(y)))

    def sort_channels(self) -> list[Reordering]:
        if self.expand is None or self.expand_norm is None:
            return []
        order = falling_importance(self.project)
        sorted_layers = (self.expand, self.expand_norm, self.depthwise, self.depthwise_norm)
        moved = [move for layer in sorted_layers for move in reorder(layer, 0, order)]
        moved += reorder(self.project, 1, order)
        if self.squeeze_excite is None:
            return moved
        moved += reorder(self.squeeze_excite.reduce, 1, order)
        moved += reorder(self.squeeze_excite.expand, 0, order)
        squeezed = falling_importance(self.squeeze_excite.expand)
        moved += reorder(self.squeeze_excite.reduce, 0, squeezed)
        return moved + reorder(self.squeeze_excite.expand, 1, squeezed)


class FusedMBConv(Block):
    """Dense or grouped k x k convolution that expands, then a 1x1 projection (EfficientNetV2; groups: CPUBone).

    On CPUs it runs at several times the MACs per second of a depthwise convolution.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        hidden: channels between the two convolutions.
        kernel: of the first convolution.
        stride: of the first convolution.
        activation: `relu` or `hardswish`.
        groups: of the first convolution.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        hidden: int,
        kernel: int,
        stride: int,
        activation: str,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.fused = layers.conv(in_channels, hidden, kernel, stride, groups=groups)
        self.fused_norm = layers.norm(hidden, follows=self.fused)
        self.project = layers.conv(hidden, out_channels, follows=self.fused)
        self.project_norm = layers.norm(out_channels)
        self.act = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.fused_norm(self.fused(x)))
        return self.residual(x, self.project_norm(self.project(y)))

    def sort_channels(self) -> list[Reordering]:
        order = falling_importance(self.project, blocks=self.groups)
        return reorder(self.fused, 0, order) + reorder(self.fused_norm, 0, order) + reorder(self.project, 1, order)


class GroupedMBConv(FusedMBConv):
    """`FusedMBConv` with groups: a class of its own, since its weights are not shared with the dense block."""


class ConvNormAct(nn.Module):
    """Convolution, batch normalisation, activation."""

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        activation: str,
        epsilon: float | None = None,
    ) -> None:
        super().__init__()
        layers = layers if epsilon is None else layers.adjusted(epsilon, layers.padding)
        self.conv = layers.conv(in_channels, out_channels, kernel, stride)
        self.norm = layers.norm(out_channels)
        self.act = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.norm(self.conv(x)))
        return result


class Head(nn.Module):
    """1x1 convolution, global average, an optional hidden layer without normalisation (MobileNetV3), classifier.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        channels: of the 1x1 convolution.
        features: of the hidden layer; 0 leaves it out.
        classes: number of logits.
        activation: of the convolution and of the hidden layer.
        features_bias: whether the hidden layer has a bias.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        channels: int,
        features: int,
        classes: int,
        activation: str,
        features_bias: bool = False,
        epsilon: float | None = None,
    ) -> None:
        super().__init__()
        self.expand = ConvNormAct(layers, in_channels, channels, 1, 1, activation, epsilon)
        self.mix = layers.conv(channels, features, bias=features_bias) if features else None
        self.act = _ACTIVATIONS[activation]()
        self.classifier = layers.linear(features or channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x).mean((2, 3), keepdim=True)
        if self.mix is not None:
            y = self.act(self.mix(y))
        logits: Tensor = self.classifier(y.flatten(1))
        return logits
