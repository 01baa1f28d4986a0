"""A convnet space for small images and for contrast between devices: every block chooses its kind.

Depthwise, grouped and dense convolutions reach very different MACs per second on different runtimes, so that the
best network depends on the device; with one kind of block latency nearly follows MACs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from search_spaces.convnet.blocks import ConvNormAct, FusedMBConv, GroupedMBConv, Head, MBConv, check_sizes, pixels
from search_spaces.scaling import Scale, carried_over
from search_spaces.space import Architecture, Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec

_BLOCKS = {"mbconv": MBConv, "grouped": GroupedMBConv, "fused": FusedMBConv}


def convnet(
    *,
    resolutions: Sequence[int] = (24, 32),
    in_channels: int = 3,
    classes: int = 10,
    stem: int = 16,
    stem_stride: int = 1,
    widths: Sequence[Sequence[int]] = ((16, 24), (32, 48), (64, 96), (96, 128)),
    strides: Sequence[int] = (1, 2, 2, 2),
    depths: Sequence[Sequence[int]] = ((1, 2), (1, 2, 3), (1, 2, 3), (1, 2)),
    blocks: Sequence[str] = ("mbconv", "grouped", "fused"),
    kernels: Sequence[int] = (3, 5),
    elastic_kernel_blocks: Sequence[str] = ("mbconv",),
    expansions: Sequence[int] = (2, 3, 4),
    group_width: int = 8,
    head: int = 256,
) -> SearchSpace:
    """Stages with elastic width and depth; kind of block, kernel and expansion per layer.

    Args:
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        stem: channels of the first convolution.
        stem_stride: of the first convolution.
        widths: for each stage, the output channels that it may have.
        strides: of the first block of each stage.
        depths: for each stage, the numbers of blocks that it may have.
        blocks: kinds: `mbconv` (depthwise), `grouped` and `fused` (k x k with and without groups).
        kernels: kernel sizes; kinds that are not in `elastic_kernel_blocks` use the smallest.
        elastic_kernel_blocks: kinds whose kernel is a choice.
        expansions: ratios of hidden to input channels.
        group_width: input channels of each group of a `grouped` block; fewer than the channels of any stage.
        head: channels before the global average.

    Raises:
        ValueError: when lists differ in length, a kind is unknown, or `group_width` does not divide the channels.
    """
    options = dict(locals())
    _check(widths, strides, depths, blocks, elastic_kernel_blocks, group_width, stem)
    for depth_options in depths:
        check_sizes(resolutions, depth_options, kernels, expansions)
    choices = [Choice("resolution", tuple(sorted(resolutions)))]
    slots = [Slot("stem", ("resolution",), partial(_stem, in_channels=in_channels, channels=stem, stride=stem_stride))]
    reduction = stem_stride
    before: tuple[str, int | None] = ("", stem)
    for stage, stride in enumerate(strides, start=1):
        width = Choice(f"stage{stage}_width", tuple(sorted(widths[stage - 1])))
        depth = Choice(f"stage{stage}_depth", tuple(sorted(depths[stage - 1])))
        choices += [width, depth]
        for layer in range(1, max(depths[stage - 1]) + 1):
            name = f"stage{stage}_block{layer}"
            needed = (depth.name, tuple(d for d in depth.options if int(d) >= layer))
            kind = Choice(f"{name}_kind", tuple(blocks), needed, ordered=False)
            kernel = Choice(f"{name}_kernel", tuple(sorted(kernels)), (kind.name, tuple(elastic_kernel_blocks)))
            expansion = Choice(f"{name}_expansion", tuple(sorted(expansions)), needed)
            choices += [kind, kernel, expansion]
            source = before if layer == 1 else (width.name, None)
            variant = partial(
                _block,
                name=name,
                layer=layer,
                source=source,
                width=width.name,
                depth=depth.name,
                stride=stride if layer == 1 else 1,
                reduction=reduction,
                group_width=group_width,
                smallest_kernel=min(kernels),
                elastic_kernel_blocks=tuple(elastic_kernel_blocks),
            )
            depends = ["resolution", width.name, depth.name, kind.name, kernel.name, expansion.name]
            if source[1] is None and source[0] not in depends:
                depends.append(source[0])
            slots.append(Slot(name, tuple(depends), variant))
            reduction *= stride if layer == 1 else 1
        before = (width.name, None)
    last = partial(_head, source=before[0], channels=head, classes=classes, reduction=reduction)
    slots.append(Slot("head", ("resolution", before[0]), last))
    return SearchSpace("convnet", tuple(choices), tuple(slots), options, scaled=partial(_scaled, options=options))


def _scaled(
    architecture: Architecture, scale: Scale, *, options: Mapping[str, Any]
) -> tuple[SearchSpace, Architecture]:
    group_width = int(options["group_width"])
    scale = replace(scale, divisor=group_width, least=2 * group_width)
    changed = {
        **{name: scale.channels(options[name]) for name in ("stem", "head")},
        "widths": tuple(scale.all_channels(stage) for stage in options["widths"]),
        "depths": tuple(scale.all_blocks(stage) for stage in options["depths"]),
        "resolutions": scale.all_pixels(options["resolutions"]),
    }
    space = convnet(**{**options, **changed})
    return space, carried_over(architecture, scale, space)


def _check(
    widths: Sequence[Sequence[int]],
    strides: Sequence[int],
    depths: Sequence[Sequence[int]],
    blocks: Sequence[str],
    elastic_kernel_blocks: Sequence[str],
    group_width: int,
    stem: int,
) -> None:
    if not len(widths) == len(strides) == len(depths):
        raise ValueError("widths, strides and depths must have one entry for each stage")
    unknown = [kind for kind in (*blocks, *elastic_kernel_blocks) if kind not in _BLOCKS]
    if unknown:
        raise ValueError(f"unknown kind of block {unknown[0]!r}; there are {', '.join(_BLOCKS)}")
    channels = [stem, *(width for stage in widths for width in stage)]
    wrong = [c for c in channels if c % group_width or c == group_width]
    if "grouped" in blocks and wrong:
        raise ValueError(
            f"group_width = {group_width} must divide every number of channels and be smaller; {wrong[0]} is not fit"
        )


def _stem(values: Mapping[str, Value], phase: str, *, in_channels: int, channels: int, stride: int) -> Variant:
    size = pixels(values, 1)
    spec = ModuleSpec.of(
        ConvNormAct, in_channels=in_channels, out_channels=channels, kernel=3, stride=stride, activation="relu"
    )
    return Variant(spec, ((1, in_channels, size, size),))


def _block(
    values: Mapping[str, Value],
    phase: str,
    *,
    name: str,
    layer: int,
    source: tuple[str, int | None],
    width: str,
    depth: str,
    stride: int,
    reduction: int,
    group_width: int,
    smallest_kernel: int,
    elastic_kernel_blocks: tuple[str, ...],
) -> Variant | None:
    if int(values[depth]) < layer:
        return None
    kind = str(values[f"{name}_kind"])
    in_channels = source[1] if source[1] is not None else int(values[source[0]])
    arguments = {
        "in_channels": in_channels,
        "out_channels": int(values[width]),
        "hidden": in_channels * int(values[f"{name}_expansion"]),
        "kernel": int(values[f"{name}_kernel"]) if kind in elastic_kernel_blocks else smallest_kernel,
        "stride": stride,
        "activation": "relu",
    }
    if kind == "grouped":
        arguments["groups"] = in_channels // group_width
    size = pixels(values, reduction)
    return Variant(ModuleSpec.of(_BLOCKS[kind], **arguments), ((1, in_channels, size, size),))


def _head(
    values: Mapping[str, Value], phase: str, *, source: str, channels: int, classes: int, reduction: int
) -> Variant:
    in_channels, size = int(values[source]), pixels(values, reduction)
    spec = ModuleSpec.of(
        Head, in_channels=in_channels, channels=channels, features=0, classes=classes, activation="relu"
    )
    return Variant(spec, ((1, in_channels, size, size),))
