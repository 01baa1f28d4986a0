"""The space of Accel-NASBench (Ahmad et al., DAC 2024): EfficientNet-B0 (Tan and Le, ICML 2019) with free blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil

import numpy as np

from search_spaces.checks import check_positive
from search_spaces.convnet.blocks import MBConv, make_divisible
from search_spaces.convnet.ends import head as head_slot
from search_spaces.convnet.ends import stem as stem_slot
from search_spaces.space import Choice, Codes, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

#: What is chosen for each block, in the order of the choices and of the table's columns: expansion, kernel of the
#: depthwise convolution, number of layers, squeeze-excite.
PROPERTIES = ("e", "k", "l", "se")

#: Hidden channels of squeeze-excite for each input channel of its layer.
SQUEEZE = 0.25


class SqueezedMBConv(MBConv):
    """`MBConv` with squeeze-excite: a class of its own, since its weights are not shared with the one without."""


class SeparableConv(MBConv):
    """`MBConv` without expansion."""


class SqueezedSeparableConv(MBConv):
    """`MBConv` without expansion, with squeeze-excite."""


# By whether there is an expansion and squeeze-excite.
_BLOCKS: dict[tuple[bool, bool], type[MBConv]] = {
    (True, False): MBConv,
    (True, True): SqueezedMBConv,
    (False, False): SeparableConv,
    (False, True): SqueezedSeparableConv,
}


def accel_nasbench(
    *,
    resolution: int = 224,
    in_channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    stem: int = 32,
    stem_stride: int = 2,
    widths: Sequence[int] = (16, 24, 40, 80, 112, 192, 320),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
    expansions: Sequence[int] = (1, 4, 6),
    kernels: Sequence[int] = (3, 5),
    depths: Sequence[Sequence[int]] = ((1, 2, 3),) * 5 + ((1, 2, 3, 4), (1, 2, 3)),
    head: int = 1280,
) -> SearchSpace:
    """Blocks of inverted residuals; expansion, kernel, number of layers and squeeze-excite are chosen for each block.

    Widths and strides are those of EfficientNet-B0, activations are SiLU, and squeeze-excite has a quarter of the
    channels that its layer reads. The workload has the parameters that the table states. The table's MACs are counted
    by `thop`: those of the workload, and beside them four for each value that is normalised and one for each value
    that an average reads or writes; see experiments/tabular_spaces.

    Args:
        resolution: of the images in pixels.
        in_channels: of the images.
        classes: number of classes.
        width: multiplier of all channels.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        widths: output channels of each block.
        strides: of the first layer of each block.
        expansions: ratios of hidden to input channels; with 1 there is no expansion.
        kernels: sizes of the depthwise convolutions.
        depths: numbers of layers that each block may have.
        head: channels before the global average.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    if not len(widths) == len(strides) == len(depths):
        raise ValueError("widths, strides and depths must have one entry for each block")
    check_positive(**{name: value for name, value in options.items() if name != "depths"})
    for block_depths in depths:
        check_positive(depths=block_depths)
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels must be odd, so that padding keeps the size, not {list(kernels)}")
    first, *channels, last = (make_divisible(width * size) for size in (stem, *widths, head))
    size = ceil(resolution / stem_stride)
    choices: list[Choice] = []
    slots = [stem_slot(resolution, in_channels, first, stem_stride, "silu")]
    before = first
    for number, (out, stride, layers) in enumerate(zip(channels, strides, depths, strict=True), start=1):
        values = (sorted(expansions), sorted(kernels), sorted(layers), (0, 1))
        names = [f"block{number}_{part}" for part in PROPERTIES]
        choices += [Choice(name, tuple(found)) for name, found in zip(names, values, strict=True)]
        for layer in range(1, max(layers) + 1):
            build = partial(_layer, names, layer, before, out, stride if layer == 1 else 1, size)
            slots.append(Slot(f"block{number}_layer{layer}", tuple(names), build))
            before, size = out, ceil(size / (stride if layer == 1 else 1))
    slots.append(head_slot(before, last, classes, size, "silu"))
    return SearchSpace("accel-nasbench", tuple(choices), tuple(slots), options)


def _layer(
    names: Sequence[str],
    layer: int,
    in_channels: int,
    out_channels: int,
    stride: int,
    size: int,
    values: Mapping[str, Value],
    phase: str,
) -> Variant | None:
    expansion, kernel, depth, squeeze_excite = (int(values[name]) for name in names)
    if layer > depth:
        return None
    spec = ModuleSpec.of(
        _BLOCKS[expansion > 1, bool(squeeze_excite)],
        in_channels=in_channels,
        out_channels=out_channels,
        hidden=in_channels * expansion,
        kernel=kernel,
        stride=stride,
        activation="silu",
        squeeze=max(1, int(in_channels * SQUEEZE)) if squeeze_excite else 0,
        expand=expansion > 1,
        gate="sigmoid",
    )
    return Variant(spec, ((1, in_channels, size, size),))


def codes_of(space: SearchSpace, table: Mapping[str, Sequence[str]]) -> Codes:
    """Codes of the architectures of a table.

    Args:
        space: as `accel_nasbench` makes it.
        table: the columns `e`, `k`, `l` and `se`; an entry has a number for each block, joined by `_`.

    Returns:
        An integer matrix of shape (n, number of choices).

    Raises:
        ValueError: when an entry has another form, or the space has no such option.
    """
    blocks = len(space.choices) // len(PROPERTIES)
    codes = np.empty((len(table[PROPERTIES[0]]), len(space.choices)), dtype=np.int64)
    for offset, part in enumerate(PROPERTIES):
        choices = space.choices[offset :: len(PROPERTIES)]
        for row, text in enumerate(table[part]):
            numbers = text.split("_")
            if len(numbers) != blocks or not all(number.isdecimal() for number in numbers):
                raise ValueError(
                    f"{text!r} in column {part!r} is no architecture of Accel-NASBench: expected {blocks} numbers "
                    "joined by '_'"
                )
            codes[row, offset :: len(PROPERTIES)] = [
                choice.index(int(number)) for choice, number in zip(choices, numbers, strict=True)
            ]
    return codes


def columns_of(space: SearchSpace, codes: Codes) -> dict[str, list[str]]:
    """The table's columns `e`, `k`, `l` and `se` of `codes`: the inverse of `codes_of`."""
    rows = [list(architecture.values.values()) for architecture in space.architectures(codes)]
    return {
        part: ["_".join(map(str, row[offset :: len(PROPERTIES)])) for row in rows]
        for offset, part in enumerate(PROPERTIES)
    }
