"""A space around a language model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search_spaces.slm.checkpoints.config import FAMILIES, CheckpointConfig

#: Of the hidden units and of the heads of keys and values that a smaller network has.
SHARES = (0.25, 0.5, 0.75, 1.0)


def checkpoint_options(
    directory: str | Path,
    shares: Sequence[float] = SHARES,
    kept_layers: Sequence[Sequence[int]] | None = None,
    mixers: Sequence[str] = (),
) -> dict[str, Any]:
    """Options of the space `hybrid-slm` whose largest network is a model of transformers.

    Layers choose their hidden units and their heads, each of keys and values with its queries. The number of layers is a
    choice with `kept_layers` (see `rank_layers`); without it, layers may skip their attention.

    Args:
        directory: with `config.json`.
        shares: of the hidden units, and of the heads; the whole is always among them.
        kept_layers: for each number of layers the layers that run, from 1; those of the whole model are added.
        mixers: that a layer may have in place of attention. They have the heads of the model, with keys as wide as its.

    Raises:
        ValueError: when the configuration cannot be read or represented, or a share is not between 0 and 1.
    """
    if not all(0 < share <= 1 for share in shares):
        raise ValueError(f"shares are more than 0 and at most 1, not {list(shares)}")
    config, shares = CheckpointConfig.read(directory), sorted({*shares, 1.0})
    family = FAMILIES[config.family]
    kept = {len(layers): list(layers) for layers in kept_layers or ()} | {config.layers: [*range(1, config.layers + 1)]}
    kinds = [*dict.fromkeys(mixers), "attention"]
    depth = {"mixers": ["skip", *kinds], "depths": [config.layers]}
    if kept_layers is not None:
        rising = sorted(kept)
        depth = {"mixers": kinds, "depths": rising, "kept_layers": [kept[layers] for layers in rising]}
    return {
        "vocabulary": config.vocabulary,
        "widths": [config.width],
        **depth,
        "heads": config.heads,
        "head_width": config.head_width,
        **({"states": [config.head_width]} if mixers else {}),
        "kv_heads": sorted({max(1, round(share * config.kv_heads)) for share in shares}),
        "shared_queries": False,
        "ratios": sorted({_ratio(max(1, round(share * config.hidden)), config.width) for share in shares}),
        "tied": config.tied,
        "epsilon": config.epsilon,
        "rotary_base": config.rotary_base,
        **({} if config.rotary_stretch is None else {"rotary_stretch": list(config.rotary_stretch)}),
        "attention_bias": family.bias,
        "attention_norm": family.norm,
    }


def _ratio(hidden: int, width: int) -> float:
    """The ratio, in four digits or as many as it takes, that gives exactly that many units."""
    return next(ratio for digits in range(4, 17) if round((ratio := round(hidden / width, digits)) * width) == hidden)
