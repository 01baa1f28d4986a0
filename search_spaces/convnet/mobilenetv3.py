"""The MobileNetV3 space of once-for-all (Cai et al., ICLR 2020), at any scale from 8 px digits to 224 px photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.convnet.blocks import ConvNormAct, Head, MBConv, check_sizes, make_divisible
from search_spaces.scaling import Scale, carried_over
from search_spaces.space import Architecture, Choice, Codes, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec


def mobilenetv3(
    *,
    resolutions: Sequence[int] = tuple(range(128, 225, 4)),
    in_channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    stem: int = 16,
    stem_stride: int = 2,
    widths: Sequence[int] = (24, 40, 80, 112, 160),
    strides: Sequence[int] = (2, 2, 2, 1, 2),
    activations: Sequence[str] = ("relu", "relu", "hardswish", "hardswish", "hardswish"),
    squeeze_excite: Sequence[bool] = (False, True, False, True, True),
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
    head: int = 960,
    features: int = 1280,
) -> SearchSpace:
    """Units of inverted residuals with elastic depth, and kernel and expansion per layer.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        width: multiplier of all channels (a fixed property, not a choice).
        stem: channels of the first convolution and of the first, fixed block.
        stem_stride: of the first convolution.
        widths: output channels of each unit.
        strides: of the first block of each unit.
        activations: of each unit, `relu` or `hardswish`.
        squeeze_excite: whether the blocks of each unit have it.
        depths: numbers of blocks that a unit may have.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels.
        head: channels before the global average.
        features: channels after it; 0 leaves that layer out.

    Raises:
        ValueError: when the lists that describe the units differ in length, or a size is impossible.
    """
    options = dict(locals())
    lengths = {len(widths), len(strides), len(activations), len(squeeze_excite)}
    if len(lengths) != 1:
        raise ValueError("widths, strides, activations and squeeze_excite must have one entry for each unit")
    check_sizes(resolutions, depths, kernels, expansions)
    stem, head, features = (make_divisible(channels * width) if channels else 0 for channels in (stem, head, features))
    channels = [make_divisible(w * width) for w in widths]
    choices = [Choice("resolution", tuple(sorted(resolutions)))]
    slots = [
        Slot("stem", ("resolution",), partial(_stem, in_channels=in_channels, out_channels=stem, stride=stem_stride)),
        Slot("first", ("resolution",), partial(_first, channels=stem, reduction=stem_stride)),
    ]
    reduction, before = stem_stride, stem
    for unit, (out, stride) in enumerate(zip(channels, strides, strict=True), start=1):
        depth = Choice(f"unit{unit}_depth", tuple(sorted(depths)))
        choices.append(depth)
        for layer in range(1, max(depths) + 1):
            name = f"unit{unit}_block{layer}"
            needed = (depth.name, tuple(d for d in depth.options if int(d) >= layer))
            choices.append(Choice(f"{name}_kernel", tuple(sorted(kernels)), needed))
            choices.append(Choice(f"{name}_expansion", tuple(sorted(expansions)), needed))
            block = partial(
                _block,
                name=name,
                depth=depth.name,
                layer=layer,
                in_channels=before if layer == 1 else out,
                out_channels=out,
                stride=stride if layer == 1 else 1,
                reduction=reduction,
                activation=activations[unit - 1],
                squeeze_excite=squeeze_excite[unit - 1],
            )
            slots.append(Slot(name, ("resolution", depth.name, f"{name}_kernel", f"{name}_expansion"), block))
            reduction *= stride if layer == 1 else 1
        before = out
    last = partial(_head, in_channels=before, channels=head, features=features, classes=classes, reduction=reduction)
    slots.append(Slot("head", ("resolution",), last))
    return SearchSpace("mobilenetv3", tuple(choices), tuple(slots), options, scaled=partial(_scaled, options=options))


def _scaled(
    architecture: Architecture, scale: Scale, *, options: Mapping[str, Any]
) -> tuple[SearchSpace, Architecture]:
    changed = {
        "width": options["width"] * scale.width,
        "depths": scale.all_blocks(options["depths"]),
        "resolutions": scale.all_pixels(options["resolutions"]),
    }
    space = mobilenetv3(**{**options, **changed})
    return space, carried_over(architecture, scale, space)


def _pixels(values: Mapping[str, Value], reduction: int) -> int:
    return ceil(int(values["resolution"]) / reduction)


def _stem(values: Mapping[str, Value], phase: str, *, in_channels: int, out_channels: int, stride: int) -> Variant:
    size = _pixels(values, 1)
    spec = ModuleSpec.of(
        ConvNormAct, in_channels=in_channels, out_channels=out_channels, kernel=3, stride=stride,
        activation="hardswish",
    )  # fmt: skip
    return Variant(spec, ((1, in_channels, size, size),))


def _first(values: Mapping[str, Value], phase: str, *, channels: int, reduction: int) -> Variant:
    size = _pixels(values, reduction)
    spec = ModuleSpec.of(
        MBConv, in_channels=channels, out_channels=channels, hidden=channels, kernel=3, stride=1, activation="relu",
        expand=False,
    )  # fmt: skip
    return Variant(spec, ((1, channels, size, size),))


def _block(
    values: Mapping[str, Value],
    phase: str,
    *,
    name: str,
    depth: str,
    layer: int,
    in_channels: int,
    out_channels: int,
    stride: int,
    reduction: int,
    activation: str,
    squeeze_excite: bool,
) -> Variant | None:
    if int(values[depth]) < layer:
        return None
    hidden = make_divisible(in_channels * int(values[f"{name}_expansion"]))
    spec = ModuleSpec.of(
        MBConv,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden=hidden,
        kernel=int(values[f"{name}_kernel"]),
        stride=stride,
        activation=activation,
        squeeze=make_divisible(hidden // 4) if squeeze_excite else 0,
    )
    size = _pixels(values, reduction)
    return Variant(spec, ((1, in_channels, size, size),))


def _head(
    values: Mapping[str, Value],
    phase: str,
    *,
    in_channels: int,
    channels: int,
    features: int,
    classes: int,
    reduction: int,
) -> Variant:
    spec = ModuleSpec.of(
        Head, in_channels=in_channels, channels=channels, features=features, classes=classes, activation="hardswish"
    )
    size = _pixels(values, reduction)
    return Variant(spec, ((1, in_channels, size, size),))


def codes_of(
    space: SearchSpace,
    kernels: Sequence[str],
    expansions: Sequence[str],
    depths: Sequence[str],
    resolutions: Sequence[int],
) -> Codes:
    """Codes of the architectures that once-for-all's tables write as four columns `ks`, `e`, `d` and `r`.

    Args:
        space: made by `mobilenetv3`; the tables are of its default options.
        kernels: of all blocks, such as `7_5_3_...`: as many for each unit as its largest depth.
        expansions: of all blocks, in the same order.
        depths: of all units, such as `2_4_3_...`. What is written for blocks beyond the depth is ignored.
        resolutions: in pixels.

    Returns:
        Canonical codes, shape (n, number of choices).

    Raises:
        ValueError: when a row is no list of so many numbers, or a number is no option of its choice.
    """
    names = [choice.name for choice in space.choices if choice.name.endswith("_depth")]
    most = max(int(value) for choice in space.choices if choice.name in names for value in choice.options)
    depth = _numbers(depths, len(names))
    columns = {"resolution": np.asarray(resolutions, dtype=np.int64), **dict(zip(names, depth.T, strict=True))}
    active = np.repeat(depth, most, axis=1) > np.tile(np.arange(most), len(names))
    for kind, texts in (("kernel", kernels), ("expansion", expansions)):
        numbers = np.where(active, _numbers(texts, len(names) * most), -1)
        for place, column in enumerate(numbers.T):
            columns[f"unit{place // most + 1}_block{place % most + 1}_{kind}"] = column
    return space.canonical(np.stack([_indices(choice, columns[choice.name]) for choice in space.choices], axis=1))


def _numbers(texts: Sequence[str], length: int) -> NDArray[np.int64]:
    """The numbers of rows such as `7_5_3`, shape (n, length)."""
    rows = [text.split("_") for text in texts]
    for row, text in zip(rows, texts, strict=True):
        if len(row) != length or not all(part.isdecimal() for part in row):
            raise ValueError(f"{text!r} is no architecture of once-for-all: expected {length} numbers joined by '_'")
    return np.array(rows, dtype=np.int64).reshape(-1, length)


def _indices(choice: Choice, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of each value among the options; 0 for -1, which stands for a block that is left out."""
    found, places = np.unique(values, return_inverse=True)
    positions = [0 if value == -1 else choice.index(value) for value in found.tolist()]
    return np.array(positions, dtype=np.int64)[places]
