"""The space of ProxylessNAS (Cai et al., ICLR 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from search_spaces.convnet import slots as parts
from search_spaces.convnet.blocks import MBConv, check_sizes
from search_spaces.convnet.published import published
from search_spaces.convnet.slots import Channels, Maker, Values
from search_spaces.space import Choice, SearchSpace, Slot, Value
from search_spaces.spec import ModuleSpec

#: Channels of stem, first block, every stage, and head, as the authors made them for each device.
WIDTHS = {
    "mobile": (32, 16, 32, 40, 80, 96, 192, 320, 1280),
    "cpu": (40, 24, 32, 48, 88, 104, 216, 360, 1432),
    "gpu": (40, 24, 32, 56, 112, 128, 256, 432, 1728),
}

# Layers of the winners, from the configurations that the authors give beside their weights
# (github.com/mit-han-lab/proxylessnas).
_WINNERS = {
    "mobile": """
        k5_e3 k3_e3 skip  skip
        k7_e3 k3_e3 k5_e3 k5_e3
        k7_e6 k5_e3 k5_e3 k5_e3
        k5_e6 k5_e3 k5_e3 k5_e3
        k7_e6 k7_e6 k7_e3 k7_e3
        k7_e6""",
    "gpu": """
        k5_e3 skip  skip  skip
        k7_e3 skip  skip  k3_e3
        k7_e6 skip  skip  k5_e3
        k5_e6 skip  k3_e3 k5_e3
        k7_e6 k7_e6 k7_e6 k5_e6
        k7_e6""",
    "cpu": """
        k3_e6 k3_e3 k3_e3 k3_e3
        k3_e6 k3_e3 k3_e3 k5_e3
        k3_e6 skip  skip  k3_e3
        k5_e6 k3_e3 k3_e3 k3_e3
        k5_e6 k5_e3 k5_e3 k3_e3
        k5_e6""",
}


def proxylessnas(
    *,
    resolutions: Sequence[int] = (224,),
    in_channels: int = 3,
    classes: int = 1000,
    stem_stride: int = 2,
    widths: Mapping[str, Sequence[int]] = WIDTHS,
    strides: Sequence[int] = (2, 2, 2, 1, 2, 1),
    depths: Sequence[int] = (4, 4, 4, 4, 4, 1),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 6),
) -> SearchSpace:
    """ProxylessNAS: a fixed number of layers, each an inverted residual of some kernel and expansion, or left out.

    The first layer of a stage changes the shape and cannot be left out (`skip`). With the default options there are 21
    layers. The networks that the authors published for three kinds of device differ in their channels as well, so that
    these are a choice here.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        stem_stride: of the first convolution.
        widths: by name, the narrowest first: channels of the first convolution, of the first block, of each stage, and
            before the global average.
        strides: of the first layer of each stage.
        depths: layers of each stage.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    if len(strides) != len(depths) or any(len(channels) != len(depths) + 3 for channels in widths.values()):
        raise ValueError(
            "strides and depths must have one entry for each stage, and widths three more: stem, first block and head"
        )
    check_sizes(resolutions, depths, kernels, expansions)
    kinds = tuple(f"k{kernel}_e{expansion}" for expansion in sorted(expansions) for kernel in sorted(kernels))
    stem, first, *stages, last = (_channels(widths, place) for place in range(len(depths) + 3))
    choices = [Choice("resolution", tuple(sorted(resolutions))), Choice("width", tuple(widths))]
    slots: list[Slot] = [
        parts.stem(in_channels, stem, stem_stride, "relu6"),
        parts.slot("first", first.choices, stem, stem_stride, _first(first)),
    ]
    reduction = stem_stride
    for (before, out), stride, depth in zip(pairwise([first, *stages]), strides, depths, strict=True):
        for layer in range(depth):
            name = f"layer{len(choices) - 1}"
            choices.append(Choice(name, kinds if layer == 0 else ("skip", *kinds), ordered=False))
            source, step = (before, stride) if layer == 0 else (out, 1)
            slots.append(parts.slot(name, (name, *out.choices), source, reduction, _layer(name, out, step)))
            reduction *= step
    slots.append(parts.head(stages[-1], reduction, last, classes, "relu6"))
    named = published(proxylessnas, options, choices, {f"ProxylessNAS-{width}": _winner(width) for width in _WINNERS})
    return SearchSpace("proxylessnas", tuple(choices), tuple(slots), options, named=named)


def _channels(widths: Mapping[str, Sequence[int]], place: int) -> Channels:
    return Channels(lambda values: widths[str(values["width"])][place], ("width",))


def _first(out: Channels) -> Maker:
    def make(values: Values, in_channels: int) -> ModuleSpec:
        return ModuleSpec.of(
            MBConv, in_channels=in_channels, out_channels=out.count(values), hidden=in_channels, kernel=3, stride=1,
            activation="relu6", expand=False,
        )  # fmt: skip

    return make


def _layer(name: str, out: Channels, stride: int) -> Maker:
    def make(values: Values, in_channels: int) -> ModuleSpec | None:
        kind = str(values[name])
        if kind == "skip":
            return None
        kernel, expansion = (int(part[1:]) for part in kind.split("_"))
        return ModuleSpec.of(
            MBConv, in_channels=in_channels, out_channels=out.count(values), hidden=in_channels * expansion,
            kernel=kernel, stride=stride, activation="relu6",
        )  # fmt: skip

    return make


def _winner(width: str) -> dict[str, Value]:
    layers = {f"layer{number}": kind for number, kind in enumerate(_WINNERS[width].split(), start=1)}
    return {"resolution": 224, "width": width, **layers}
