"""Options of the space of language models: what follows from others, and what is impossible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.checks import check_positive
from search_spaces.slm.attention import BASE
from search_spaces.slm.mixers import MIXERS, SKIP
from search_spaces.slm.named import PRESETS
from search_spaces.space import nearest

DEFAULTS: Mapping[str, Any] = {
    "vocabulary": 2048,
    "prefill": (512,),
    "decode": (128, 2048),
    "widths": (96, 128),
    "depths": (4, 6, 8),
    "mixers": MIXERS,
    "heads": 4,
    "head_width": None,
    "kv_heads": (1, 2, 4),
    "windows": (32, 128),
    "states": (8, 16),
    "ratios": (1, 2, 3),
    "meta_tokens": (0,),
    "tied": True,
    "chunk": 16,
    "kernel": 3,
    "context": None,
    "epsilon": 1e-6,
    "rotary_base": BASE,
    "rotary_stretch": None,
    "attention_bias": False,
    "attention_norm": False,
    "shared_queries": True,
    "kept_layers": None,
}


def preset_options(preset: str) -> dict[str, Any]:
    """All options of a preset.

    Raises:
        ValueError: when there is none of that name.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}{nearest(preset, PRESETS)}; there are {', '.join(PRESETS)}")
    return {**DEFAULTS, **PRESETS[preset]}


def filled_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those that follow from others.

    Raises:
        ValueError: when they are impossible.
    """
    check_options({name: value for name, value in options.items() if value is not None})
    seen = max(*options["prefill"], *(tokens + 1 for tokens in options["decode"]), 0, 0)
    defaults = {
        "head_width": max(options["widths"]) // options["heads"],
        "context": seen + max(options["meta_tokens"]),
    }
    return {**options, **{name: value for name, value in defaults.items() if options[name] is None}}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `ValueError` naming what is impossible among the options that are given."""
    known = ("mixers", "ratios", "meta_tokens", "prefill", "decode", "kept_layers")
    check_positive(
        **{name: value for name, value in options.items() if name not in known and not isinstance(value, bool)}
    )
    phases = (*options["prefill"], *options["decode"])
    check_positive(prefill_and_decode=phases)
    for name in ("prefill", "decode"):
        if len(set(options[name])) < len(options[name]):
            raise ValueError(f"{name} has a length twice: {list(options[name])}")
    _check_mixers(options["mixers"])
    for name in ("ratios", "meta_tokens"):
        if not options[name] or min(options[name]) < 0:
            raise ValueError(f"{name} must be 0 or more, and at least one, not {list(options[name])}")
    if SKIP in options["mixers"] and min(options["ratios"]) == 0:
        raise ValueError(f"a layer could be empty: take {SKIP!r} out of mixers, or 0 out of ratios")
    if len(options.get("rotary_stretch", range(4))) != 4:
        raise ValueError("rotary_stretch must be factor, low, high and context")
    _check_kept_layers(options["depths"], options.get("kept_layers"))
    heads = options["heads"]
    shared = options["kv_heads"] if options["shared_queries"] else [max(options["kv_heads"])]
    for name, sizes in (("kv_heads", [heads % number for number in shared]),
                        ("widths", [width % heads for width in options["widths"]])):  # fmt: skip
        if any(sizes):
            raise ValueError(f"{name} and heads must divide each other; {list(options[name])} do not with {heads}")


def _check_mixers(mixers: Any) -> None:
    if not mixers:
        raise ValueError("a layer needs at least one mixer to choose from")
    for name in mixers:
        if name not in MIXERS:
            raise ValueError(f"there is no mixer {name!r}{nearest(str(name), MIXERS)}; there are {', '.join(MIXERS)}")


def _check_kept_layers(depths: Sequence[int], kept: Sequence[Sequence[int]] | None) -> None:
    if kept is None:
        return
    if len(kept) != len(depths):
        raise ValueError(
            f"kept_layers must name the layers of each of depths, {list(depths)}, not of {len(kept)} depths"
        )
    most = max(depths)
    for depth, layers in zip(depths, kept, strict=True):
        if len(layers) != depth or list(layers) != sorted(set(layers)) or not set(layers) <= set(range(1, most + 1)):
            raise ValueError(
                f"kept_layers of depth {depth} must be {depth} rising numbers of 1 to {most}, not {layers}"
            )
