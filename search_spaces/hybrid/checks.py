"""Checks of the options of a hybrid space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.hybrid.blocks import KINDS
from search_spaces.hybrid.ends import HEADS, STEMS
from search_spaces.space import nearest

#: Fewest channels of a stage; attention takes a part of them.
LEAST_CHANNELS = 8

_STAGES = ("widths", "strides", "depths", "first_kinds", "kinds")
_ACTIVATIONS = ("relu", "hardswish", "silu")


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `ValueError` with the option's name when one is impossible."""
    if len({len(options[name]) for name in _STAGES}) != 1:
        raise ValueError(f"{', '.join(_STAGES)} must have one entry for each stage")
    if not options["stem"] or len(options["stem"]) != len(options["stem_strides"]):
        raise ValueError("stem and stem_strides must have one entry for each convolution, one at least")
    if options["activation"] not in _ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(_ACTIVATIONS)}, not {options['activation']!r}")
    _check_ends(options)
    for name in ("resolutions", "stem", "stem_strides", "kernels", "first_expansions", "expansions"):
        _positive(name, options[name])
    for name in ("in_channels", "classes"):
        _positive(name, [options[name]])
    if any(kernel % 2 == 0 for kernel in options["kernels"]):
        raise ValueError(f"kernels must be odd, not {list(options['kernels'])}")
    if min(options["head"], options["features"]) < 0:
        raise ValueError("head and features must be 0 or more")
    before = options["stem"][-1:]
    for stage in range(len(options["strides"])):
        _check_stage(options, stage)
        inside = options["widths"][stage] or before
        _check_divisors(options["first_kinds"][stage], before)
        _check_divisors(options["kinds"][stage], inside)
        before = inside


def _check_ends(options: Mapping[str, Any]) -> None:
    for name, known in (("stem_kind", STEMS), ("head_kind", HEADS)):
        if options[name] not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, not {options[name]!r}")
    if options["stem_kind"] != "convolutions" and len(options["stem"]) != 1:
        raise ValueError(f"a stem of kind {options['stem_kind']!r} is one convolution, not {len(options['stem'])}")
    if options["head_kind"] != "convolution" and (options["head"] or options["features"]):
        raise ValueError(f"a head of kind {options['head_kind']!r} has no other layers: head and features must be 0")


def _positive(name: str, values: Sequence[int]) -> None:
    if min(values, default=0) < 1:
        raise ValueError(f"{name} must be positive numbers, not {list(values)}")


def _check_stage(options: Mapping[str, Any], stage: int) -> None:
    widths, stride, depths, first_kinds, kinds = (options[name][stage] for name in _STAGES)
    if stride < 0 or min(depths, default=-1) < 0:
        raise ValueError(f"strides and depths must be 0 or more, not {stride} and {list(depths)}")
    if stride == 0 and (widths or first_kinds):
        raise ValueError("a stage of stride 0 has no first block, so its widths and first_kinds must be empty")
    if stride and (min(widths, default=0) < LEAST_CHANNELS or not first_kinds):
        raise ValueError(f"a stage needs widths of {LEAST_CHANNELS} channels or more and a kind of first block")
    if max(depths) and not kinds:
        raise ValueError("a stage with blocks needs a kind for them")
    for kind in (*first_kinds, *kinds):
        if kind not in KINDS:
            raise ValueError(f"unknown kind of block {kind!r}{nearest(kind, KINDS)}; there are {', '.join(KINDS)}")
    if len(kinds) > 1 and any(KINDS[kind].whole for kind in kinds):
        raise ValueError(f"a kind that is a whole stage is the only one of its stage, not one of {', '.join(kinds)}")
    fixed = [kind for kind in first_kinds if not KINDS[kind].changes_shape]
    if fixed:
        raise ValueError(f"{fixed[0]!r} cannot change the number of channels, so no stage begins with it")


def _check_divisors(kinds: Sequence[str], channels: Sequence[int]) -> None:
    for kind in kinds:
        wrong = [channel for channel in channels if channel % KINDS[kind].divisor]
        if wrong:
            raise ValueError(
                f"blocks of kind {kind!r} need a multiple of {KINDS[kind].divisor} channels, not {wrong[0]}"
            )
