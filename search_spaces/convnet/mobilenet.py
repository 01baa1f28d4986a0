"""Spaces around MobileNetV2 (Sandler et al., CVPR 2018) and MobileNetV3 (Howard et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.checks import check_positive
from search_spaces.convnet import slots as parts
from search_spaces.convnet.blocks import MBConv, check_sizes, make_divisible
from search_spaces.convnet.published import published
from search_spaces.convnet.slots import Channels, Maker, Values
from search_spaces.space import Choice, SearchSpace, Slot, Value
from search_spaces.spec import ModuleSpec

# Kernel and expansion of every layer of each stage of the published networks.
_V2 = tuple(((3, 6),) * depth for depth in (2, 3, 4, 3, 3, 1))
_V3_LARGE = (
    ((3, 4), (3, 3)),
    ((5, 3), (5, 3), (5, 3)),
    ((3, 6), (3, 2.5), (3, 2.3), (3, 2.3)),
    ((3, 6), (3, 6)),
    ((5, 6), (5, 6), (5, 6)),
)
_V3_SMALL = (
    ((3, 4.5), (3, 3.67)),
    ((5, 4), (5, 6), (5, 6)),
    ((5, 3), (5, 3)),
    ((5, 6), (5, 6), (5, 6)),
)


def mobilenetv2(
    *,
    resolutions: Sequence[int] = (96, 128, 160, 192, 224),
    in_channels: int = 3,
    classes: int = 1000,
    width_multipliers: Sequence[float] = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    stem: int = 32,
    stem_stride: int = 2,
    first: int = 16,
    widths: Sequence[int] = (24, 32, 64, 96, 160, 320),
    strides: Sequence[int] = (2, 2, 2, 1, 2, 1),
    depths: Sequence[Sequence[int]] = ((1, 2, 3), (2, 3, 4), (3, 4, 5), (2, 3, 4), (2, 3, 4), (1,)),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[Sequence[float]] = ((3, 4, 6),) * 6,
    head: int = 1280,
) -> SearchSpace:
    """MobileNetV2 with elastic resolution, width and depth, and kernel and expansion per layer.

    Resolutions and width multipliers are those of the paper; so are the channels before the classifier, which never
    have a multiplier below 1.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        width_multipliers: of all channels.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        first: channels of the first block, which has no expansion.
        widths: output channels of each stage after it.
        strides: of the first layer of each stage.
        depths: numbers of layers that each stage may have.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels, for each stage those that its layers may have.
        head: channels before the global average.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    stages = _stages(widths, strides, depths, expansions, ["relu6"] * len(widths), [False] * len(widths))
    first_stage = _Stage(first, 1, (1,), (1,), "relu6", False)
    choices, slots = _network(options, "relu6", [first_stage, *stages])
    winners = {f"MobileNetV2-{width}": _values(width, _V2) for width in width_multipliers}
    named = published(mobilenetv2, options, choices, winners)
    return SearchSpace("mobilenetv2", choices, slots, options, named=named)


def mobilenetv3_large(
    *,
    resolutions: Sequence[int] = (128, 160, 192, 224),
    in_channels: int = 3,
    classes: int = 1000,
    width_multipliers: Sequence[float] = (0.75, 1.0),
    stem: int = 16,
    stem_stride: int = 2,
    first: int = 16,
    widths: Sequence[int] = (24, 40, 80, 112, 160),
    strides: Sequence[int] = (2, 2, 2, 1, 2),
    activations: Sequence[str] = ("relu", "relu", "hardswish", "hardswish", "hardswish"),
    squeeze_excite: Sequence[bool] = (False, True, False, True, True),
    depths: Sequence[Sequence[int]] = ((1, 2, 3), (2, 3, 4), (3, 4, 5), (1, 2, 3), (2, 3, 4)),
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[Sequence[float]] = ((3, 4, 6), (3, 4, 6), (2.3, 2.5, 3, 4, 6), (3, 4, 6), (3, 4, 6)),
    head: int = 960,
    features: int = 1280,
) -> SearchSpace:
    """MobileNetV3-Large with elastic resolution, width and depth, and kernel and expansion per layer.

    The expansions are those that NetAdapt left in the published network. Once-for-all's space `mobilenetv3` has
    integer ones and does not contain it.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        width_multipliers: of all channels; the layer before the classifier has at least 1.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        first: channels of the first block, which has no expansion.
        widths: output channels of each stage after it.
        strides: of the first layer of each stage.
        activations: of each stage, `relu` or `hardswish`.
        squeeze_excite: whether the layers of each stage have it.
        depths: numbers of layers that each stage may have.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels, for each stage those that its layers may have.
        head: channels before the global average.
        features: channels after it.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    stages = _stages(widths, strides, depths, expansions, activations, squeeze_excite)
    first_stage = _Stage(first, 1, (1,), (1,), "relu", False)
    choices, slots = _network(options, "hardswish", [first_stage, *stages])
    winners = {f"MobileNetV3-Large-{width}": _values(width, _V3_LARGE) for width in width_multipliers}
    named = published(mobilenetv3_large, options, choices, winners)
    return SearchSpace("mobilenetv3-large", choices, slots, options, named=named)


def mobilenetv3_small(
    *,
    resolutions: Sequence[int] = (128, 160, 192, 224),
    in_channels: int = 3,
    classes: int = 1000,
    width_multipliers: Sequence[float] = (0.75, 1.0),
    stem: int = 16,
    stem_stride: int = 2,
    first: int = 16,
    widths: Sequence[int] = (24, 40, 48, 96),
    strides: Sequence[int] = (2, 2, 1, 2),
    activations: Sequence[str] = ("relu", "hardswish", "hardswish", "hardswish"),
    squeeze_excite: Sequence[bool] = (False, True, True, True),
    depths: Sequence[Sequence[int]] = ((1, 2, 3), (2, 3, 4), (1, 2, 3), (2, 3, 4)),
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[Sequence[float]] = ((3, 3.67, 4, 4.5, 6), (3, 4, 6), (3, 4, 6), (3, 4, 6)),
    head: int = 576,
    features: int = 1024,
) -> SearchSpace:
    """MobileNetV3-Small with elastic resolution, width and depth, and kernel and expansion per layer.

    As `mobilenetv3-large`, whose options it takes; the first block halves the resolution and has squeeze-excite.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    stages = _stages(widths, strides, depths, expansions, activations, squeeze_excite)
    first_stage = _Stage(first, 2, (1,), (1,), "relu", True)
    choices, slots = _network(options, "hardswish", [first_stage, *stages])
    winners = {f"MobileNetV3-Small-{width}": _values(width, _V3_SMALL) for width in width_multipliers}
    named = published(mobilenetv3_small, options, choices, winners)
    return SearchSpace("mobilenetv3-small", choices, slots, options, named=named)


@dataclass(frozen=True)
class _Stage:
    """Layers of one resolution; `stride` is that of the first one."""

    channels: int
    stride: int
    depths: tuple[int, ...]
    expansions: tuple[float, ...]
    activation: str
    squeeze_excite: bool


def _stages(
    widths: Sequence[int],
    strides: Sequence[int],
    depths: Sequence[Sequence[int]],
    expansions: Sequence[Sequence[float]],
    activations: Sequence[str],
    squeeze_excite: Sequence[bool],
) -> list[_Stage]:
    try:
        rows = list(zip(widths, strides, depths, expansions, activations, squeeze_excite, strict=True))
    except ValueError as error:
        raise ValueError(
            "widths, strides, depths, expansions and the like must have one entry for each stage"
        ) from error
    return [
        _Stage(out, stride, tuple(sorted(layers)), tuple(sorted(ratios)), activation, squeezed)
        for out, stride, layers, ratios, activation, squeezed in rows
    ]


def _network(
    options: Mapping[str, Any], activation: str, stages: Sequence[_Stage]
) -> tuple[tuple[Choice, ...], tuple[Slot, ...]]:
    """Choices and slots; the first one of `stages` is a block without expansion, in which nothing is chosen."""
    kernels = tuple(sorted(options["kernels"]))
    for stage in stages:
        check_sizes(options["resolutions"], stage.depths, kernels, stage.expansions)
    check_positive(width_multipliers=options["width_multipliers"])
    choices = [
        Choice("resolution", tuple(sorted(options["resolutions"]))),
        Choice("width", tuple(sorted(options["width_multipliers"]))),
    ]
    source, reduction = _scaled(options["stem"]), options["stem_stride"]
    slots = [parts.stem(options["in_channels"], source, reduction, activation)]
    slots.append(parts.slot("first", ("width",), source, reduction, _first_block(stages[0])))
    source, reduction = _scaled(stages[0].channels), reduction * stages[0].stride
    for number, stage in enumerate(stages[1:], start=1):
        depth = Choice(f"stage{number}_depth", stage.depths)
        choices.append(depth)
        for layer in range(1, max(stage.depths) + 1):
            name, stride = f"stage{number}_layer{layer}", stage.stride if layer == 1 else 1
            needed = (depth.name, tuple(option for option in depth.options if int(option) >= layer))
            choices.append(Choice(f"{name}_kernel", kernels, needed))
            choices.append(Choice(f"{name}_expansion", stage.expansions, needed))
            uses = ("width", depth.name, f"{name}_kernel", f"{name}_expansion")
            slots.append(parts.slot(name, uses, source, reduction, _layer(stage, stride, depth.name, layer, name)))
            source, reduction = _scaled(stage.channels), reduction * stride
    slots.append(_head(options, source, reduction, activation))
    return tuple(choices), tuple(slots)


def _scaled(channels: int, least: float = 0.0) -> Channels:
    """Channels times the width multiplier, which counts as `least` where it is smaller."""
    return Channels(lambda values: make_divisible(channels * max(least, float(values["width"]))), ("width",))


def _head(options: Mapping[str, Any], source: Channels, reduction: int, activation: str) -> Slot:
    head, features = options["head"], options.get("features")
    # The layer before the classifier is never narrower than published: there the multiplier saves little.
    if features is None:
        return parts.head(source, reduction, _scaled(head, 1.0), options["classes"], activation)
    return parts.head(source, reduction, _scaled(head), options["classes"], activation, _scaled(features, 1.0))


def _first_block(stage: _Stage) -> Maker:
    out = _scaled(stage.channels)

    def make(values: Values, in_channels: int) -> ModuleSpec:
        return _spec(stage, stage.stride, in_channels, out.count(values), in_channels, 3, expand=False)

    return make


def _layer(stage: _Stage, stride: int, depth: str, layer: int, name: str) -> Maker:
    out = _scaled(stage.channels)

    def make(values: Values, in_channels: int) -> ModuleSpec | None:
        if int(values[depth]) < layer:
            return None
        hidden = make_divisible(in_channels * float(values[f"{name}_expansion"]))
        return _spec(stage, stride, in_channels, out.count(values), hidden, int(values[f"{name}_kernel"]))

    return make


def _spec(
    stage: _Stage, stride: int, in_channels: int, out_channels: int, hidden: int, kernel: int, expand: bool = True
) -> ModuleSpec:
    return ModuleSpec.of(
        MBConv,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden=hidden,
        kernel=kernel,
        stride=stride,
        activation=stage.activation,
        squeeze=make_divisible(hidden / 4) if stage.squeeze_excite else 0,
        expand=expand,
    )


def _values(width: float, stages: Sequence[Sequence[tuple[int, float]]]) -> dict[str, Value]:
    """Values of the choices of a published network."""
    values: dict[str, Value] = {"resolution": 224, "width": width}
    for number, layers in enumerate(stages, start=1):
        values[f"stage{number}_depth"] = len(layers)
        for layer, (kernel, expansion) in enumerate(layers, start=1):
            values[f"stage{number}_layer{layer}_kernel"] = kernel
            values[f"stage{number}_layer{layer}_expansion"] = expansion
    return values
