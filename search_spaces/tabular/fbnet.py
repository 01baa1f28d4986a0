"""The space of FBNet (Wu et al., CVPR 2019) in the variant for small images of HW-NAS-Bench (Li et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from search_spaces.checks import check_positive
from search_spaces.convnet.blocks import make_divisible
from search_spaces.convnet.ends import head as head_slot
from search_spaces.convnet.ends import stem as stem_slot
from search_spaces.convnet.fbnet import KINDS, searched_layers
from search_spaces.space import Codes, SearchSpace

#: The blocks in the order of their numbers in the tables: kernel, expansion, groups of the 1x1 convolutions.
BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")


def fbnet(
    *,
    resolution: int = 32,
    in_channels: int = 3,
    classes: int = 100,
    width: float = 1.0,
    stem: int = 16,
    stem_stride: int = 1,
    widths: Sequence[int] = (16, 24, 32, 64, 112, 184, 352),
    strides: Sequence[int] = (1, 1, 2, 2, 1, 2, 1),
    depths: Sequence[int] = (1, 4, 4, 4, 4, 4, 1),
    head: int = 1504,
) -> SearchSpace:
    """A fixed number of layers, each one of nine blocks: 22 layers with the default options, which are those of the tables.

    The workload has the MACs and parameters that the tables state: convolutions, the linear layer with its bias, and
    scale and shift of every normalisation. The blocks are those of `fbnet-imagenet`.

    Args:
        resolution: of the images in pixels.
        in_channels: of the images.
        classes: number of classes.
        width: multiplier of all channels.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        widths: output channels of each stage.
        strides: of the first layer of each stage.
        depths: layers of each stage.
        head: channels before the global average.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    if not len(widths) == len(strides) == len(depths):
        raise ValueError("widths, strides and depths must have one entry for each stage")
    check_positive(**options)
    first, *channels, last = (make_divisible(width * size) for size in (stem, *widths, head))
    size = ceil(resolution / stem_stride)
    found = searched_layers(first, size, channels, strides, depths)
    stem_of_all = stem_slot(resolution, in_channels, first, stem_stride, "relu")
    head_of_all = head_slot(found.channels, last, classes, found.size, "relu")
    return SearchSpace("fbnet", found.choices, (stem_of_all, *found.slots, head_of_all), options)


def codes_of(ops: Sequence[str]) -> Codes:
    """Codes of the architectures that a table writes as `7_8_1_...`: the number of each layer's block in `BLOCKS`.

    Returns:
        An integer matrix of shape (n, layers).

    Raises:
        ValueError: when a row is no list of such numbers, or rows differ in length.
    """
    column = {str(number): KINDS.index(name) for number, name in enumerate(BLOCKS)}
    rows = [row.split("_") for row in ops]
    for row, text in zip(rows, ops, strict=True):
        if len(row) != len(rows[0]) or not column.keys() >= set(row):
            raise ValueError(f"{text!r} is no architecture of FBNet: expected numbers from 0 to 8 joined by '_'")
    codes = [[column[number] for number in row] for row in rows]
    return np.array(codes, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def ops_of(codes: Codes) -> list[str]:
    """The table's form of `codes`, shape (n, layers): the inverse of `codes_of`."""
    numbers = [str(BLOCKS.index(name)) for name in KINDS]
    return ["_".join(numbers[code] for code in row) for row in np.asarray(codes).tolist()]
