"""The space of FBNet (Wu et al., CVPR 2019) in the variant for small images of HW-NAS-Bench (Li et al., ICLR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil

import numpy as np
from torch import Tensor, nn

from search_spaces.convnet.blocks import Block, ConvNormAct, MBConv, make_divisible
from search_spaces.layers import Layers
from search_spaces.space import Choice, Codes, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec
from search_spaces.tabular.checks import check_positive
from search_spaces.tabular.ends import head as head_slot
from search_spaces.tabular.ends import stem as stem_slot

#: The blocks in the order of their numbers in the tables: kernel, expansion, groups of the 1x1 convolutions.
BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")

# By rising MACs, as the options of a choice are.
_OPTIONS = ("skip", "k3_e1_g2", "k5_e1_g2", "k3_e1", "k5_e1", "k3_e3", "k5_e3", "k3_e6", "k5_e6")


class ShuffledMBConv(Block):
    """Inverted residual without expansion whose 1x1 convolutions have groups, with channels shuffled after the first.

    Source: FBNet, figure 3 and table 2.

    Args:
        layers: makes the layers.
        in_channels: of the input and of the depthwise convolution.
        out_channels: of the output.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        groups: of the 1x1 convolutions.
    """

    def __init__(
        self, layers: Layers, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int
    ) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.expand = layers.conv(in_channels, in_channels, groups=groups)
        self.expand_norm = layers.norm(in_channels)
        self.depthwise = layers.conv(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.depthwise_norm = layers.norm(in_channels)
        self.project = layers.conv(in_channels, out_channels, groups=groups)
        self.project_norm = layers.norm(out_channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = shuffle(self.act(self.expand_norm(self.expand(x))), self.groups)
        y = self.act(self.depthwise_norm(self.depthwise(y)))
        return self.residual(x, self.project_norm(self.project(y)))


def shuffle(x: Tensor, groups: int) -> Tensor:
    """The channels of all groups by turns (Zhang et al., CVPR 2018); same shape.

    Rows and columns are one dimension meanwhile: some runtimes know no tensors of five dimensions.
    """
    _, channels, height, width = x.shape
    y = x.view(-1, groups, channels // groups, height * width).permute(0, 2, 1, 3)
    return y.reshape(-1, channels, height, width)


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
    scale and shift of every normalisation. A `skip` is nothing where shapes agree, else a 1x1 convolution with ReLU.

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
    choices: list[Choice] = []
    slots = [stem_slot(resolution, in_channels, first, stem_stride, "relu")]
    before = first
    for out, stage_stride, depth in zip(channels, strides, depths, strict=True):
        for layer in range(depth):
            name, stride = f"layer{len(choices) + 1}", stage_stride if layer == 0 else 1
            choices.append(Choice(name, _OPTIONS, ordered=False))
            slots.append(Slot(name, (name,), partial(_block, name, before, out, stride, size)))
            before, size = out, ceil(size / stride)
    slots.append(head_slot(before, last, classes, size, "relu"))
    return SearchSpace("fbnet", tuple(choices), tuple(slots), options)


def _block(
    name: str, in_channels: int, out_channels: int, stride: int, size: int, values: Mapping[str, Value], phase: str
) -> Variant | None:
    kind = str(values[name])
    common = {"in_channels": in_channels, "out_channels": out_channels, "stride": stride}
    shapes = ((1, in_channels, size, size),)
    if kind == "skip":
        if stride == 1 and in_channels == out_channels:
            return None
        return Variant(ModuleSpec.of(ConvNormAct, kernel=1, activation="relu", **common), shapes)
    kernel, expansion, *groups = (int(part[1:]) for part in kind.split("_"))
    if groups:
        return Variant(ModuleSpec.of(ShuffledMBConv, kernel=kernel, groups=groups[0], **common), shapes)
    hidden = expansion * in_channels
    return Variant(ModuleSpec.of(MBConv, kernel=kernel, hidden=hidden, activation="relu", **common), shapes)


def codes_of(ops: Sequence[str]) -> Codes:
    """Codes of the architectures that a table writes as `7_8_1_...`: the number of each layer's block in `BLOCKS`.

    Returns:
        An integer matrix of shape (n, layers).

    Raises:
        ValueError: when a row is no list of such numbers, or rows differ in length.
    """
    column = {str(number): _OPTIONS.index(name) for number, name in enumerate(BLOCKS)}
    rows = [row.split("_") for row in ops]
    for row, text in zip(rows, ops, strict=True):
        if len(row) != len(rows[0]) or not column.keys() >= set(row):
            raise ValueError(f"{text!r} is no architecture of FBNet: expected numbers from 0 to 8 joined by '_'")
    codes = [[column[number] for number in row] for row in rows]
    return np.array(codes, dtype=np.int64).reshape(len(rows), len(rows[0]) if rows else 0)


def ops_of(codes: Codes) -> list[str]:
    """The table's form of `codes`, shape (n, layers): the inverse of `codes_of`."""
    numbers = [str(BLOCKS.index(name)) for name in _OPTIONS]
    return ["_".join(numbers[code] for code in row) for row in np.asarray(codes).tolist()]
