"""Once-for-all's supernet of ResNet50-D as it was published (Cai et al., ICLR 2020): the same choices, the same
weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from search_spaces.convnet.blocks import ConvNormAct, make_divisible, pixels
from search_spaces.convnet.ofa_weights import converter, normalised
from search_spaces.convnet.residual_blocks import Bottleneck, MaxPool, PooledClassifier, ResidualConvNormAct
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

_STEM = 64
_CHANNELS = (256, 512, 1024, 2048)
_STRIDES = (1, 2, 2, 2)
_LEAST_DEPTHS = (2, 2, 4, 2)


def ofa_resnet50(
    *,
    resolutions: Sequence[int] = (128, 144, 160, 176, 192, 224, 240, 256),
    classes: int = 1000,
    depths: Sequence[int] = (0, 1, 2),
    widths: Sequence[float] = (0.65, 0.8, 1.0),
    expansions: Sequence[float] = (0.2, 0.25, 0.35),
) -> SearchSpace:
    """The space of `ofa_resnet50_d0-1-2_e0.2-0.25-0.35_w0.65-0.8-1.0`: bottlenecks in four stages.

    Widths are chosen for each stage, for the stem and for the inside of the stem; a choice is a number of channels.
    Two multipliers that give the same number, such as 0.65 and 0.8 inside of the stem, are one option. Checkpoints of
    the official project are loaded by `Supernet.load_pretrained("ofa", path)`.

    Args:
        resolutions: input sizes in pixels; those of the project's accuracy predictor.
        classes: number of classes.
        depths: numbers of blocks that a stage may have beyond 2, 2, 4 and 2. With several of them the second of the
            three convolutions of the stem may be left out.
        widths: multipliers of the channels.
        expansions: ratios of hidden to output channels of a block.

    Raises:
        ValueError: when a size is impossible, or two expansions are the same network.
    """
    options = dict(locals())
    _check(resolutions, depths, widths, expansions)
    stem = Choice("stem_width", _channels(_STEM, widths))
    inner = Choice("stem_inner_width", tuple(sorted({make_divisible(int(c) // 2) for c in stem.options})))
    stem_depth = Choice("stem_depth", (2, 3) if len(depths) > 1 else (3,))
    choices = [Choice("resolution", tuple(sorted(resolutions))), stem_depth, inner, stem]
    slots = [
        Slot("stem_first", ("resolution", inner.name), _stem_first),
        Slot("stem_second", ("resolution", stem_depth.name, inner.name), _stem_second),
        Slot("stem_last", ("resolution", inner.name, stem.name), _stem_last),
        Slot("stem_pool", ("resolution", stem.name), _stem_pool),
    ]
    reduction, before = 4, stem.name
    for stage, (channels, stride, least) in enumerate(zip(_CHANNELS, _STRIDES, _LEAST_DEPTHS, strict=True), start=1):
        width = Choice(f"stage{stage}_width", _channels(channels, widths))
        depth = Choice(f"stage{stage}_depth", tuple(least + extra for extra in sorted(depths)))
        _check_hidden(width, expansions)
        choices += [width, depth]
        for layer in range(1, least + max(depths) + 1):
            name = f"stage{stage}_block{layer}"
            needed = (depth.name, tuple(d for d in depth.options if int(d) >= layer))
            expansion = Choice(f"{name}_expansion", tuple(sorted(expansions)), needed)
            choices.append(expansion)
            source = before if layer == 1 else width.name
            block = partial(
                _block, depth=depth.name, layer=layer, source=source, width=width.name, expansion=expansion.name,
                stride=stride if layer == 1 else 1, reduction=reduction,
            )  # fmt: skip
            depends = dict.fromkeys(("resolution", depth.name, source, width.name, expansion.name))
            slots.append(Slot(name, tuple(depends), block))
            reduction *= stride if layer == 1 else 1
        before = width.name
    head = partial(_head, source=before, classes=classes, reduction=reduction)
    slots.append(Slot("head", ("resolution", before), head))
    modules = converter(_modules(slots))
    return SearchSpace("ofa-resnet50", tuple(choices), tuple(slots), options, pretrained={"ofa": modules})


def _channels(channels: int, widths: Sequence[float]) -> tuple[Value, ...]:
    return tuple(sorted({make_divisible(channels * width) for width in widths}))


def _hidden(channels: int, expansion: float) -> int:
    return make_divisible(round(channels * expansion))


def _check(
    resolutions: Sequence[int], depths: Sequence[int], widths: Sequence[float], expansions: Sequence[float]
) -> None:
    sizes = {"resolutions": resolutions, "widths": widths, "expansions": expansions}
    for name, values in sizes.items():
        if not min(values, default=0) > 0:
            raise ValueError(f"{name} must be positive numbers, not {list(values)}")
    if min(depths, default=-1) < 0:
        raise ValueError(f"depths must be 0 or more, not {list(depths)}")


def _check_hidden(width: Choice, expansions: Sequence[float]) -> None:
    for channels in width.options:
        for smaller, larger in pairwise(sorted(expansions)):
            if _hidden(int(channels), smaller) == _hidden(int(channels), larger):
                raise ValueError(f"expansions {smaller} and {larger} are the same at {width.name} = {channels}")


def _modules(slots: Sequence[Slot]) -> dict[str, str]:
    """Names of the modules there and here."""
    modules = normalised("input_stem.0", "slots.stem_first.convnormact")
    modules |= {"input_stem.1.conv": "slots.stem_second.residualconvnormact.conv"}
    modules |= {"input_stem.1.conv.bn": "slots.stem_second.residualconvnormact.norm"}
    modules |= normalised("input_stem.2", "slots.stem_last.convnormact")
    modules["classifier.linear"] = "slots.head.pooledclassifier.classifier"
    blocks = [slot.name for slot in slots if "block" in slot.name]
    for number, name in enumerate(blocks):
        there, here = f"blocks.{number}", f"slots.{name}.bottleneck"
        for conv in "123":
            modules |= {
                f"{there}.conv{conv}.conv": f"{here}.conv{conv}",
                f"{there}.conv{conv}.bn": f"{here}.norm{conv}",
            }
        modules |= {f"{there}.downsample.conv": f"{here}.project", f"{there}.downsample.bn": f"{here}.project_norm"}
    return modules


def _stem_first(values: Mapping[str, Value], phase: str) -> Variant:
    size = pixels(values, 1)
    spec = ModuleSpec.of(
        ConvNormAct, in_channels=3, out_channels=int(values["stem_inner_width"]), kernel=3, stride=2, activation="relu"
    )
    return Variant(spec, ((1, 3, size, size),))


def _stem_second(values: Mapping[str, Value], phase: str) -> Variant | None:
    if int(values["stem_depth"]) < 3:
        return None
    channels, size = int(values["stem_inner_width"]), pixels(values, 2)
    spec = ModuleSpec.of(
        ResidualConvNormAct, in_channels=channels, out_channels=channels, kernel=3, stride=1, activation="relu"
    )
    return Variant(spec, ((1, channels, size, size),))


def _stem_last(values: Mapping[str, Value], phase: str) -> Variant:
    channels, size = int(values["stem_inner_width"]), pixels(values, 2)
    spec = ModuleSpec.of(
        ConvNormAct, in_channels=channels, out_channels=int(values["stem_width"]), kernel=3, stride=1, activation="relu"
    )
    return Variant(spec, ((1, channels, size, size),))


def _stem_pool(values: Mapping[str, Value], phase: str) -> Variant:
    size = pixels(values, 2)
    return Variant(ModuleSpec.of(MaxPool), ((1, int(values["stem_width"]), size, size),))


def _block(
    values: Mapping[str, Value],
    phase: str,
    *,
    depth: str,
    layer: int,
    source: str,
    width: str,
    expansion: str,
    stride: int,
    reduction: int,
) -> Variant | None:
    if int(values[depth]) < layer:
        return None
    in_channels, out_channels, size = int(values[source]), int(values[width]), pixels(values, reduction)
    spec = ModuleSpec.of(
        Bottleneck,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden=_hidden(out_channels, float(values[expansion])),
        stride=stride,
        project=layer == 1,
    )
    return Variant(spec, ((1, in_channels, size, size),))


def _head(values: Mapping[str, Value], phase: str, *, source: str, classes: int, reduction: int) -> Variant:
    channels, size = int(values[source]), pixels(values, reduction)
    return Variant(ModuleSpec.of(PooledClassifier, in_channels=channels, classes=classes), ((1, channels, size, size),))
