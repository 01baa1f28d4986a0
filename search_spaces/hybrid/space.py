"""Hybrid networks: every block chooses its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

from search_spaces.convnet.blocks import pixels
from search_spaces.hybrid.checks import check_options
from search_spaces.hybrid.ends import HEADS, STEMS
from search_spaces.hybrid.presets import DEFAULTS, NAMED, preset_options
from search_spaces.hybrid.stages import Channels, Stage, number
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant


def efficient_hybrid(
    *,
    preset: str = "images",
    resolutions: Sequence[int] | None = None,
    in_channels: int | None = None,
    classes: int | None = None,
    stem: Sequence[int] | None = None,
    stem_strides: Sequence[int] | None = None,
    stem_kind: str | None = None,
    widths: Sequence[Sequence[int]] | None = None,
    strides: Sequence[int] | None = None,
    depths: Sequence[Sequence[int]] | None = None,
    first_kinds: Sequence[Sequence[str]] | None = None,
    kinds: Sequence[Sequence[str]] | None = None,
    kernels: Sequence[int] | None = None,
    first_expansions: Sequence[int] | None = None,
    expansions: Sequence[int] | None = None,
    head: int | None = None,
    features: int | None = None,
    head_kind: str | None = None,
    activation: str | None = None,
) -> SearchSpace:
    """Stages with elastic width and depth; each begins with a block that changes the shape, and goes on with blocks that
    keep it. Every block chooses its kind and its expansion, and its kernel where the kind has several.

    Options that are not given are those of the preset.

    Args:
        preset: `images` (160 to 224 px), `small-images` (32 px), or the family of a published network, which the space
            then has by the same name: `cpubone-nano`, `lowformer-b0`, `shvit-s1`, `efficientvmamba-t`,
            `efficientmod-xxs` or `affnet-et`; or `efficientvim`, which has blocks, stem and downsampling of
            EfficientViM-M1, but one classifier only: not those that read the hidden states of each stage.
        resolutions: input sizes in pixels (elastic when there are several).
        in_channels: of the images.
        classes: number of classes.
        stem: channels of each of the first convolutions.
        stem_strides: of each of the first convolutions.
        stem_kind: `convolutions` (3x3), or a single one with layer normalisation: `patches` (kernels side by side) or
            `overlapping_patches`.
        widths: for each stage, the channels that it may have.
        strides: of the first block of each stage; 0 leaves that block out: the stage has no widths of its own, but the
            channels before it.
        depths: for each stage, the numbers of blocks after the first that it may have.
        first_kinds: for each stage, the kinds of its first block.
        kinds: for each stage, the kinds of the other blocks: some of `search_spaces.hybrid.blocks.KINDS`.
        kernels: sizes among which those kinds choose whose kernel is elastic.
        first_expansions: ratios of hidden to input channels of the first blocks.
        expansions: ratios of hidden to input channels of the other blocks.
        head: channels of a 1x1 convolution before the global average; 0 leaves it out.
        features: of a linear layer after the average; 0 leaves it out.
        head_kind: `convolution`, or `layer_norm` (before the average, with neither of these layers).
        activation: `relu`, `hardswish` or `silu`.

    Raises:
        ValueError: when the preset or a kind is unknown, lists differ in length, or a size is impossible.
    """
    given = {name: value for name, value in locals().items() if name != "preset" and value is not None}
    chosen = preset_options(preset) | given
    options = {**DEFAULTS, **chosen}
    check_options(options)
    choices = [Choice("resolution", tuple(sorted(options["resolutions"])))]
    slots = [Slot("stem", ("resolution",), partial(_stem, options=options))]
    before: Channels = options["stem"][-1]
    reduction = prod(options["stem_strides"])
    for position in range(len(options["strides"])):
        stage = Stage(options, position, before, reduction)
        choices += stage.choices
        slots += stage.slots
        before, reduction = stage.width, stage.reduction
    depends = ("resolution", before) if isinstance(before, str) else ("resolution",)
    slots.append(Slot("head", depends, partial(_head, options=options, source=before, reduction=reduction)))
    # Of the published network only the ends may be others, otherwise it is not in the space.
    named = {preset: NAMED[preset]} if preset in NAMED and given.keys() <= {"in_channels", "classes"} else {}
    return SearchSpace("efficient-hybrid", tuple(choices), tuple(slots), {"preset": preset, **chosen}, named=named)


def _stem(values: Mapping[str, Value], phase: str, *, options: Mapping[str, Any]) -> Variant:
    size = pixels(values, 1)
    return Variant(STEMS[options["stem_kind"]](options), ((1, options["in_channels"], size, size),))


def _head(
    values: Mapping[str, Value], phase: str, *, options: Mapping[str, Any], source: Channels, reduction: int
) -> Variant:
    in_channels, size = number(values, source), pixels(values, reduction)
    return Variant(HEADS[options["head_kind"]](options, in_channels), ((1, in_channels, size, size),))
