"""The factorised hierarchical space of MnasNet (Tan et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from search_spaces.checks import check_positive
from search_spaces.convnet import slots as parts
from search_spaces.convnet.blocks import Block, MBConv, SqueezeExcite, check_sizes
from search_spaces.convnet.published import published
from search_spaces.convnet.slots import Channels, Maker, Values
from search_spaces.layers import Layers
from search_spaces.space import Choice, SearchSpace, Value
from search_spaces.spec import ModuleSpec

#: What is added to the output of a layer that keeps its shape; by number in the specifications.
SKIPS = ("none", "identity", "pool")

_SKIP_MODULES: tuple[Callable[[], nn.Module], ...] = (
    nn.Identity,
    nn.Identity,
    lambda: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
)

#: Operations, the cheapest first, with their expansions; `conv` has none.
OPERATIONS = {"sepconv": 1, "mbconv3": 3, "mbconv6": 6, "conv": 0}

# Of each block: operation, kernel, squeeze-excite ratio, filters, layers. From the authors' code
# (github.com/tensorflow/tpu, models/official/mnasnet/mnasnet_models.py). Layers that can have a skip all have `identity`.
_WINNERS: dict[str, tuple[tuple[str, int, float, int, int], ...]] = {
    "MnasNet-A1": (
        ("sepconv", 3, 0, 16, 1),
        ("mbconv6", 3, 0, 24, 2),
        ("mbconv3", 5, 0.25, 40, 3),
        ("mbconv6", 3, 0, 80, 4),
        ("mbconv6", 3, 0.25, 112, 2),
        ("mbconv6", 5, 0.25, 160, 3),
        ("mbconv6", 3, 0, 320, 1),
    ),
}


class InvertedResidual(MBConv):
    """`MBConv` of which one chooses what is added to its output.

    Args:
        layers: makes the layers.
        skip: number of one of `SKIPS`.
        **arguments: of `MBConv`.
    """

    def __init__(self, layers: Layers, skip: int, **arguments: Any) -> None:
        super().__init__(layers, **arguments)
        self.skip = layers.one_of(_SKIP_MODULES, skip)

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.skip(x) if SKIPS[self.skip.chosen] != "none" else y


class SqueezedInvertedResidual(InvertedResidual):
    """With squeeze-excite: a class of its own, since its weights are not shared with the one without."""


class SeparableConv(InvertedResidual):
    """Without expansion."""


class SqueezedSeparableConv(InvertedResidual):
    """Without expansion, with squeeze-excite."""


class DenseConv(Block):
    """A dense convolution, with squeeze-excite or without, and with what one chooses added to its output.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        kernel: of the convolution.
        stride: of the convolution.
        skip: number of one of `SKIPS`.
        squeeze: hidden channels of squeeze-excite; 0 leaves it out.
    """

    def __init__(
        self, layers: Layers, in_channels: int, out_channels: int, kernel: int, stride: int, skip: int, squeeze: int = 0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv = layers.conv(in_channels, out_channels, kernel, stride)
        self.norm = layers.norm(out_channels)
        self.squeeze_excite = SqueezeExcite(layers, out_channels, squeeze, "relu_sigmoid") if squeeze else None
        self.skip = layers.one_of(_SKIP_MODULES, skip)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)).relu()
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(y)
        return y + self.skip(x) if SKIPS[self.skip.chosen] != "none" else y


class SqueezedDenseConv(DenseConv):
    """With squeeze-excite."""


# By operation (the two mbconv share weights) and whether there is squeeze-excite.
_CLASSES: dict[tuple[str, bool], type[nn.Module]] = {
    ("sepconv", False): SeparableConv,
    ("sepconv", True): SqueezedSeparableConv,
    ("mbconv3", False): InvertedResidual,
    ("mbconv3", True): SqueezedInvertedResidual,
    ("mbconv6", False): InvertedResidual,
    ("mbconv6", True): SqueezedInvertedResidual,
    ("conv", False): DenseConv,
    ("conv", True): SqueezedDenseConv,
}


def mnasnet(
    *,
    resolutions: Sequence[int] = (224,),
    in_channels: int = 3,
    classes: int = 1000,
    stem: int = 32,
    stem_stride: int = 2,
    filters: Sequence[Sequence[int]] = (
        (12, 16, 20),
        (18, 24, 30),
        (24, 32, 40),
        (48, 64, 80),
        (72, 96, 112, 120),
        (120, 160, 200),
        (240, 320, 400),
    ),
    strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
    depths: Sequence[Sequence[int]] = ((1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (2, 3, 4), (2, 3, 4), (1, 2)),
    operations: Sequence[str] = tuple(OPERATIONS),
    kernels: Sequence[int] = (3, 5),
    squeeze_excite: Sequence[float] = (0, 0.25),
    skips: Sequence[str] = SKIPS,
    head: int = 1280,
) -> SearchSpace:
    """MnasNet: blocks of equal layers; operation, kernel, squeeze-excite, skip, filters and layers for each block.

    Filters are .75, 1 and 1.25 times those of MobileNetV2, layers one fewer, as many and one more. MnasNet-A1 has 112
    filters in its fifth block, which is none of those products; they are an option here beside them. The paper leaves
    open how pooling in a skip changes the shape, so the first layer of a block, which does, has no skip; `pool` adds
    the average of 3x3 pixels.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        filters: output channels that each block may have.
        strides: of the first layer of each block.
        depths: numbers of layers that each block may have.
        operations: `sepconv` (depthwise separable), `mbconv3` and `mbconv6` (inverted residuals), `conv` (dense).
        kernels: kernel sizes.
        squeeze_excite: ratios of its hidden channels to the channels of the layer's input; 0 is without.
        skips: `none`, `identity` or `pool`.
        head: channels before the global average.

    Raises:
        ValueError: when lists differ in length, a name is unknown, or a size is impossible.
    """
    options = dict(locals())
    _check(filters, strides, depths, operations, skips)
    for block_depths, block_filters in zip(depths, filters, strict=True):
        check_sizes(resolutions, block_depths, kernels, block_filters)
    check_positive(stem=stem, stem_stride=stem_stride, head=head)
    choices = [Choice("resolution", tuple(sorted(resolutions)))]
    source, reduction = Channels.fixed(stem), stem_stride
    slots = [parts.stem(in_channels, source, stem_stride, "relu")]
    for number, stride in enumerate(strides, start=1):
        name = f"block{number}"
        depth = Choice(f"{name}_layers", tuple(sorted(depths[number - 1])))
        deep = (depth.name, tuple(option for option in depth.options if int(option) > 1))
        choices += [
            Choice(f"{name}_operation", tuple(operations), ordered=False),
            Choice(f"{name}_kernel", tuple(sorted(kernels))),
            Choice(f"{name}_squeeze_excite", tuple(sorted(squeeze_excite))),
            Choice(f"{name}_filters", tuple(sorted(filters[number - 1]))),
            depth,
            Choice(f"{name}_skip", tuple(skips), deep, ordered=False),
        ]
        uses = tuple(f"{name}_{part}" for part in ("operation", "kernel", "squeeze_excite", "filters"))
        slots.append(parts.slot(f"{name}_layer1", uses, source, reduction, _layer(name, 1, stride)))
        source, reduction = Channels.chosen(f"{name}_filters"), reduction * stride
        uses = (*uses, depth.name, f"{name}_skip")
        slots += [
            parts.slot(f"{name}_layer{layer}", uses, source, reduction, _layer(name, layer, 1))
            for layer in range(2, max(depths[number - 1]) + 1)
        ]
    slots.append(parts.head(source, reduction, Channels.fixed(head), classes, "relu"))
    named = published(mnasnet, options, choices, {winner: _values(winner) for winner in _WINNERS})
    return SearchSpace("mnasnet", tuple(choices), tuple(slots), options, named=named)


def _check(
    filters: Sequence[Sequence[int]],
    strides: Sequence[int],
    depths: Sequence[Sequence[int]],
    operations: Sequence[str],
    skips: Sequence[str],
) -> None:
    if not len(filters) == len(strides) == len(depths):
        raise ValueError("filters, strides and depths must have one entry for each block")
    for what, names, known in (("operation", operations, OPERATIONS), ("skip", skips, SKIPS)):
        for name in names:
            if name not in known:
                raise ValueError(f"unknown {what} {name!r}; there are {', '.join(known)}")


def _layer(block: str, layer: int, stride: int) -> Maker:
    def make(values: Values, in_channels: int) -> ModuleSpec | None:
        if layer > 1 and int(values[f"{block}_layers"]) < layer:
            return None
        operation, ratio = str(values[f"{block}_operation"]), float(values[f"{block}_squeeze_excite"])
        arguments: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": int(values[f"{block}_filters"]),
            "kernel": int(values[f"{block}_kernel"]),
            "stride": stride,
            "skip": SKIPS.index(str(values[f"{block}_skip"])) if layer > 1 else 0,
            "squeeze": max(1, int(in_channels * ratio)) if ratio else 0,
        }
        expansion = OPERATIONS[operation]
        if expansion:
            arguments |= {
                "hidden": in_channels * expansion,
                "expand": expansion > 1,
                "activation": "relu",
                "gate": "relu_sigmoid",
            }
        return ModuleSpec.of(_CLASSES[operation, ratio > 0], **arguments)

    return make


def _values(winner: str) -> dict[str, Value]:
    """Values of the choices of a published network."""
    values: dict[str, Value] = {"resolution": 224}
    for number, (operation, kernel, ratio, filters, layers) in enumerate(_WINNERS[winner], start=1):
        values |= {
            f"block{number}_operation": operation,
            f"block{number}_kernel": kernel,
            f"block{number}_squeeze_excite": ratio,
            f"block{number}_filters": filters,
            f"block{number}_layers": layers,
        }
        if layers > 1:
            values[f"block{number}_skip"] = "identity"
    return values
