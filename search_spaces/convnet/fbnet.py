"""The space of FBNet (Wu et al., CVPR 2019): a fixed number of layers, each one of nine blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from torch import Tensor, nn

from search_spaces.checks import check_positive
from search_spaces.convnet.blocks import Block, ConvNormAct, Head, MBConv
from search_spaces.convnet.ends import stem as stem_slot
from search_spaces.convnet.published import published
from search_spaces.layers import Layers
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

#: What a layer can be, by rising MACs: kernel, expansion, groups of the 1x1 convolutions.
KINDS = ("skip", "k3_e1_g2", "k5_e1_g2", "k3_e1", "k5_e1", "k3_e3", "k5_e3", "k3_e6", "k5_e6")

# Layers and head of the winners, from the authors' definitions (github.com/facebookresearch/mobile-vision,
# mobile_cv/arch/fbnet_v2/fbnet_modeldef_cls_fbnet.py). Layer 11 of FBNet-B is written there with expansion 6; with 1,
# as in other copies, it has the MACs and parameters that the authors state. B1 and C1 have the narrower head.
_FBNET_A = """skip
    k3_e3 k3_e1 skip skip
    k5_e6 k3_e3 k5_e1 k3_e3
    k5_e6 k5_e3 k5_e1_g2 k5_e6
    k3_e6 k5_e1_g2 k5_e3 k3_e1_g2
    k5_e6 k5_e6 k5_e3 k5_e6
    k5_e6"""
_FBNET_B = """k3_e1
    k3_e6 k5_e1 k3_e1 k3_e1
    k5_e6 k5_e3 k3_e6 k5_e6
    k5_e6 k5_e1 skip k5_e3
    k5_e6 k3_e1 k5_e1 k5_e3
    k5_e6 k5_e1 k5_e6 k5_e6
    k3_e6"""
_FBNET_C = """k3_e1
    k3_e6 skip k3_e1 k3_e1
    k5_e6 k5_e3 k5_e6 k3_e6
    k5_e6 k5_e3 k5_e6 k5_e6
    k5_e6 k5_e6 k5_e6 k5_e3
    k5_e6 k5_e6 k5_e6 k5_e6
    k3_e6"""
_WINNERS = {
    "FBNet-A": (_FBNET_A, 1504),
    "FBNet-B": (_FBNET_B, 1984),
    "FBNet-B1": (_FBNET_B, 1504),
    "FBNet-C": (_FBNET_C, 1984),
    "FBNet-C1": (_FBNET_C, 1504),
}


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


@dataclass(frozen=True)
class SearchedLayers:
    """The part of the network between stem and head, and the shape that comes out of it."""

    choices: tuple[Choice, ...]
    slots: tuple[Slot, ...]
    channels: int
    size: int


def searched_layers(
    channels: int, size: int, widths: Sequence[int], strides: Sequence[int], depths: Sequence[int]
) -> SearchedLayers:
    """Layers of which each is one of `KINDS`.

    Args:
        channels: of the input.
        size: rows and columns of the input.
        widths: output channels of each stage.
        strides: of the first layer of each stage.
        depths: layers of each stage.
    """
    choices: list[Choice] = []
    slots: list[Slot] = []
    for out, stage_stride, depth in zip(widths, strides, depths, strict=True):
        for layer in range(depth):
            name, stride = f"layer{len(choices) + 1}", stage_stride if layer == 0 else 1
            choices.append(Choice(name, KINDS, ordered=False))
            slots.append(Slot(name, (name,), partial(_block, name, channels, out, stride, size)))
            channels, size = out, ceil(size / stride)
    return SearchedLayers(tuple(choices), tuple(slots), channels, size)


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


def fbnet_imagenet(
    *,
    resolution: int = 224,
    in_channels: int = 3,
    classes: int = 1000,
    stem: int = 16,
    stem_stride: int = 2,
    widths: Sequence[int] = (16, 24, 32, 64, 112, 184, 352),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
    depths: Sequence[int] = (1, 4, 4, 4, 4, 4, 1),
    heads: Sequence[int] = (1504, 1984),
) -> SearchSpace:
    """FBNet's space for ImageNet: 22 layers, each one of nine blocks, and the width of the head.

    Tables 1 and 2 of the paper. A `skip` is nothing where shapes agree, else a 1x1 convolution with ReLU. All blocks
    have the first 1x1 convolution, those of expansion 1 too. The authors' trained FBNet-B and C have two 3x3
    convolutions in place of the 5x5 one in one and two of their layers, which are no block of the space; here they are
    5x5, as in the paper.

    Args:
        resolution: of the images in pixels.
        in_channels: of the images.
        classes: number of classes.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        widths: output channels of each stage.
        strides: of the first layer of each stage.
        depths: layers of each stage.
        heads: numbers of channels that there may be before the global average.

    Raises:
        ValueError: when lists differ in length, or a size is impossible.
    """
    options = dict(locals())
    if not len(widths) == len(strides) == len(depths):
        raise ValueError("widths, strides and depths must have one entry for each stage")
    check_positive(**options)
    found = searched_layers(stem, ceil(resolution / stem_stride), widths, strides, depths)
    choices = (*found.choices, Choice("head", tuple(sorted(heads))))
    stem_of_all = stem_slot(resolution, in_channels, stem, stem_stride, "relu")
    head = Slot("head", ("head",), partial(_head, found.channels, found.size, classes))
    named = published(fbnet_imagenet, options, choices, {name: _winner(*of) for name, of in _WINNERS.items()})
    return SearchSpace("fbnet-imagenet", choices, (stem_of_all, *found.slots, head), options, named=named)


def _head(in_channels: int, size: int, classes: int, values: Mapping[str, Value], phase: str) -> Variant:
    channels = int(values["head"])
    spec = ModuleSpec.of(
        Head, in_channels=in_channels, channels=channels, features=0, classes=classes, activation="relu"
    )
    return Variant(spec, ((1, in_channels, size, size),))


def _winner(kinds: str, head: int) -> dict[str, Value]:
    return {**{f"layer{number}": kind for number, kind in enumerate(kinds.split(), start=1)}, "head": head}
