"""The MobileNetV3 space of once-for-all (Cai et al., ICLR 2020), at any scale from 8 px digits to 224 px photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.convnet.blocks import make_divisible
from search_spaces.convnet.inverted_residuals import Network, Unit
from search_spaces.scaling import Scale, carried_over
from search_spaces.space import Architecture, Choice, Codes, SearchSpace


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
    stem, head, features = (make_divisible(channels * width) if channels else 0 for channels in (stem, head, features))
    units = tuple(
        Unit(make_divisible(channels * width), stride, tuple(depths), activation, se)
        for channels, stride, activation, se in zip(widths, strides, activations, squeeze_excite, strict=True)
    )
    network = Network(
        units, in_channels, stem, stem_stride, first=stem, first_activation="relu", activation="hardswish", head=head,
        features=features, classes=classes,
    )  # fmt: skip
    choices, slots = network.parts(resolutions, kernels, expansions)
    return SearchSpace("mobilenetv3", choices, slots, options, scaled=partial(_scaled, options=options))


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


def codes_of(
    space: SearchSpace,
    kernels: Sequence[str],
    expansions: Sequence[str],
    depths: Sequence[str],
    resolutions: Sequence[int],
) -> Codes:
    """Codes of the architectures that once-for-all's tables write as four columns `ks`, `e`, `d` and `r`.

    Args:
        space: made by `ofa_mobilenetv3` (the tables are of its default options) or by `mobilenetv3`.
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
