"""The kinds of block that a slot of a hybrid network chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from search_spaces.convnet.blocks import FusedMBConv, GroupedMBConv, MBConv, make_divisible
from search_spaces.hybrid.conv_attention import ConvAttention, SmallKernelAttention
from search_spaces.hybrid.ends import SqueezeMBConv
from search_spaces.hybrid.single_head import ConvFeedForward, SingleHeadAttention
from search_spaces.hybrid.small_kernel import SmallKernelMBConv
from search_spaces.spec import ModuleSpec

#: Attention is reduced to images of at most so many pixels each way (LowFormer: 7 of 14 at 224 px).
ATTENTION_PIXELS = 8


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
        in_channels: of the input.
        out_channels: of the output.
        expansion: ratio of hidden to input channels.
        kernel: of kinds with an elastic kernel.
        stride: of the block.
        resolution: height and width of the input in pixels.
        largest_resolution: the same at the largest resolution of the space.
        activation: `relu` or `hardswish`, of kinds that leave it open.
    """

    in_channels: int
    out_channels: int
    expansion: int
    kernel: int
    stride: int
    resolution: int
    largest_resolution: int
    activation: str

    @property
    def hidden(self) -> int:
        """Hidden channels."""
        return self.in_channels * self.expansion

    @property
    def attention_stride(self) -> int:
        """How many times smaller attention makes its images: the same at all resolutions, which share weights."""
        return next(s for s in (1, 2, 4) if s == 4 or self.largest_resolution <= s * ATTENTION_PIXELS)


@dataclass(frozen=True)
class Kind:
    """A kind of block.

    Attributes:
        spec: describes the module at a place.
        changes_shape: whether it can change the number of channels and the resolution.
        elastic_kernel: whether the kernel size is a choice.
        even_channels: whether it needs an even number of channels.
    """

    spec: Callable[[Place], ModuleSpec]
    changes_shape: bool = False
    elastic_kernel: bool = False
    even_channels: bool = False


def convolution(module: Callable[..., nn.Module], *, elastic_kernel: bool = False, **options: Any) -> Kind:
    """A kind that can change the shape."""

    def spec(place: Place) -> ModuleSpec:
        names = ("in_channels", "out_channels", "hidden", "stride", "activation")
        arguments = {name: getattr(place, name) for name in names} | options
        if elastic_kernel:
            arguments["kernel"] = place.kernel
        return ModuleSpec.of(module, **arguments)

    return Kind(spec, changes_shape=True, elastic_kernel=elastic_kernel, even_channels=module in _IN_TWO_GROUPS)


def mixer(module: Callable[..., nn.Module], *names: str) -> Kind:
    """A kind that keeps the shape; it takes channels, hidden channels, and the properties `names` of the place."""

    def spec(place: Place) -> ModuleSpec:
        arguments = {_ARGUMENTS.get(name, name): getattr(place, name) for name in names}
        return ModuleSpec.of(module, channels=place.in_channels, hidden=place.hidden, **arguments)

    return Kind(spec)


def _squeezed(place: Place) -> ModuleSpec:
    return ModuleSpec.of(
        SqueezeMBConv,
        in_channels=place.in_channels,
        out_channels=place.out_channels,
        hidden=place.hidden,
        kernel=3,
        stride=place.stride,
        activation=place.activation,
        squeeze=make_divisible(place.hidden / 4),
        gate="relu_sigmoid",
    )


_ARGUMENTS = {"attention_stride": "stride"}
_IN_TWO_GROUPS = (GroupedMBConv, SmallKernelMBConv)

#: All kinds by name, roughly from the cheapest to the most expensive. A new one is a line here.
KINDS: dict[str, Kind] = {
    "conv_ffn": mixer(ConvFeedForward),
    "mbconv": convolution(MBConv, elastic_kernel=True),
    "squeeze_mbconv": Kind(_squeezed, changes_shape=True),
    "single_head_attention": mixer(SingleHeadAttention),
    "small_kernel_attention": mixer(SmallKernelAttention, "attention_stride"),
    "small_kernel": convolution(SmallKernelMBConv),
    "conv_attention": mixer(ConvAttention, "attention_stride"),
    "grouped": convolution(GroupedMBConv, kernel=3, groups=2),
    "fused": convolution(FusedMBConv, kernel=3),
}
