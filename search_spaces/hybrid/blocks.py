"""The kinds of block that a slot of a hybrid network chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

from torch import nn

from search_spaces.convnet.blocks import FusedMBConv, GroupedMBConv, MBConv, make_divisible
from search_spaces.hybrid.conv_attention import ConvAttention, SmallKernelAttention
from search_spaces.hybrid.ends import SqueezeMBConv
from search_spaces.hybrid.frequency_filter import FrequencyFilter, FusedFilters
from search_spaces.hybrid.modulation import Modulation
from search_spaces.hybrid.patches import PatchConvolution, PatchMerging
from search_spaces.hybrid.selective_scan import AtrousSelectiveScan
from search_spaces.hybrid.single_head import ConvFeedForward, SingleHeadAttention
from search_spaces.hybrid.small_kernel import SmallKernelMBConv
from search_spaces.hybrid.state_mixer import DepthwiseMerging, HiddenStateMixer
from search_spaces.hybrid.transformer import Transformer
from search_spaces.spec import ModuleSpec

#: Attention is reduced to images of at most so many pixels each way (LowFormer: 7 of 14 at 224 px).
ATTENTION_PIXELS = 8


@dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
        in_channels: of the input.
        out_channels: of the output.
        expansion: ratio of hidden to input channels; of no meaning to kinds without hidden channels.
        kernel: of kinds with an elastic kernel.
        stride: of the block.
        resolution: height and width of the input in pixels.
        largest_resolution: the same at the largest resolution of the space.
        activation: `relu` or `hardswish`, of kinds that leave it open.
        depth: how many blocks the stage has beside its first.
    """

    in_channels: int
    out_channels: int
    expansion: int
    kernel: int
    stride: int
    resolution: int
    largest_resolution: int
    activation: str
    depth: int = 0

    @property
    def hidden(self) -> int:
        """Hidden channels."""
        return self.in_channels * self.expansion

    @property
    def attention_stride(self) -> int:
        """How many times smaller attention makes its images: the same at all resolutions, which share weights."""
        return next(s for s in (1, 2, 4) if s == 4 or self.largest_resolution <= s * ATTENTION_PIXELS)

    @property
    def states(self) -> int:
        """Of a state mixer: 49, 25 and 9 on images of 14, 7 and 4 pixels, as EfficientViM has."""
        return min(49, (ceil(self.largest_resolution / 2) + 1) ** 2)


@dataclass(frozen=True)
class Kind:
    """A kind of block.

    Attributes:
        spec: describes the module at a place.
        changes_shape: whether it can change the number of channels and the resolution.
        elastic_kernel: whether the kernel size is a choice.
        expands: whether it has hidden channels, whose number is a choice.
        whole: whether it is all blocks of a stage beside the first, as many as the stage's depth says.
        divisor: the input channels must be a multiple of it.
    """

    spec: Callable[[Place], ModuleSpec]
    changes_shape: bool = False
    elastic_kernel: bool = False
    expands: bool = True
    whole: bool = False
    divisor: int = 1


def convolution(
    module: Callable[..., nn.Module], *, elastic_kernel: bool = False, divisor: int = 1, **options: Any
) -> Kind:
    """A kind that can change the shape; `options` are further arguments of the module."""

    def spec(place: Place) -> ModuleSpec:
        names = ("in_channels", "out_channels", "hidden", "stride", "activation")
        arguments = {name: getattr(place, name) for name in names} | options
        if elastic_kernel:
            arguments["kernel"] = place.kernel
        return ModuleSpec.of(module, **arguments)

    return Kind(spec, changes_shape=True, elastic_kernel=elastic_kernel, divisor=divisor)


def mixer(module: Callable[..., nn.Module], *, divisor: int = 1, whole: bool = False, **properties: str) -> Kind:
    """A kind that keeps the shape.

    Args:
        module: takes channels, hidden channels and the arguments that `properties` names.
        divisor: of the channels.
        whole: whether it is all blocks of a stage.
        properties: for further arguments of the module the property of the place that it is.
    """

    def spec(place: Place) -> ModuleSpec:
        arguments = {argument: getattr(place, name) for argument, name in properties.items()}
        return ModuleSpec.of(module, channels=place.in_channels, hidden=place.hidden, **arguments)

    return Kind(spec, whole=whole, divisor=divisor)


def _squeezed(share: int) -> Callable[[Place], ModuleSpec]:
    """An inverted residual whose squeeze-excite has that share of the hidden channels."""

    def spec(place: Place) -> ModuleSpec:
        return ModuleSpec.of(
            SqueezeMBConv,
            in_channels=place.in_channels,
            out_channels=place.out_channels,
            hidden=place.hidden,
            kernel=3,
            stride=place.stride,
            activation=place.activation,
            squeeze=make_divisible(place.hidden / share),
            gate="relu_sigmoid",
        )

    return spec


def _depthwise_merging(place: Place) -> ModuleSpec:
    return ModuleSpec.of(
        DepthwiseMerging,
        in_channels=place.in_channels,
        out_channels=place.out_channels,
        hidden=place.out_channels * place.expansion,
        stride=place.stride,
        squeeze=make_divisible(place.out_channels * place.expansion / 4),
    )


def _patch_merging(place: Place) -> ModuleSpec:
    return ModuleSpec.of(
        PatchMerging, in_channels=place.in_channels, out_channels=place.out_channels, stride=place.stride
    )


def _overlapping_patches(place: Place) -> ModuleSpec:
    return ModuleSpec.of(
        PatchConvolution,
        in_channels=place.in_channels,
        out_channels=place.out_channels,
        kernel=2 * place.stride - 1,
        stride=place.stride,
    )


#: All kinds by name, roughly from the cheapest to the most expensive. A new one is a line here.
KINDS: dict[str, Kind] = {
    "patch_merging": Kind(_patch_merging, changes_shape=True, expands=False),
    "overlapping_patches": Kind(_overlapping_patches, changes_shape=True, expands=False),
    "conv_ffn": mixer(ConvFeedForward),
    "mbconv": convolution(MBConv, elastic_kernel=True),
    "narrow_squeeze_mbconv": Kind(_squeezed(8), changes_shape=True),
    "squeeze_mbconv": Kind(_squeezed(4), changes_shape=True),
    "depthwise_merging": Kind(_depthwise_merging, changes_shape=True),
    "single_head_attention": mixer(SingleHeadAttention),
    "state_mixer": mixer(HiddenStateMixer, resolution="resolution", states="states"),
    "modulation": mixer(Modulation, resolution="resolution"),
    "frequency_filter": mixer(FrequencyFilter, divisor=8, resolution="resolution"),
    "fused_filters": mixer(FusedFilters, divisor=8, whole=True, resolution="resolution", depth="depth"),
    "selective_scan": mixer(AtrousSelectiveScan, resolution="resolution"),
    "transformer": mixer(Transformer),
    "small_kernel_attention": mixer(SmallKernelAttention, stride="attention_stride"),
    "small_kernel": convolution(SmallKernelMBConv, divisor=2),
    "conv_attention": mixer(ConvAttention, stride="attention_stride"),
    "grouped": convolution(GroupedMBConv, divisor=2, kernel=3, groups=2),
    "fused": convolution(FusedMBConv, kernel=3),
}
