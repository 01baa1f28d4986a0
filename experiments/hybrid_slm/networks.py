"""Networks by short names: uniform and hand-made patterns, and those of a run."""

from __future__ import annotations

import re

import numpy as np

from nas.search.pareto import nondominated
from nas.stages import Stages
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Value

#: One kind of mixer throughout, in four layers.
UNIFORM = (
    "short_convolution@4",
    "sliding_window@4",
    "attention@4",
    "gated_linear_attention@4",
    "gated_delta_net@4",
)

_PATTERN = re.compile(r"([a-z0-9_]+(?:\+[a-z0-9_]+)*)@(\d+)")


def networks(stages: Stages, names: list[str]) -> dict[str, Architecture]:
    """Architectures by name.

    Args:
        stages: of the run whose space they are of.
        names: `attention@6` for six layers of attention; `short_convolution+short_convolution+attention@6` for a
            pattern that is repeated to six layers; `random:10` for ten random networks; `front:3` for three of the run's
            front of bits per byte and time per token, from the fastest to the best one; `under:attention@4` for the best
            one that is no slower than that pattern.

    Raises:
        ValueError: when a name is none of these.
    """
    found: dict[str, Architecture] = {}
    for name in names:
        kind, _, number = name.partition(":")
        if kind == "random" and number.isdigit():
            found |= {f"random{i}": one for i, one in enumerate(stages.space.sample(int(number), seed=1))}
        elif kind == "front" and number.isdigit():
            found |= {f"front{i}": one for i, one in enumerate(front(stages, int(number)))}
        elif kind == "under":
            found[name] = best_under(stages, pattern(stages.space, number))
        else:
            found[name] = pattern(stages.space, name)
    return found


def pattern(space: SearchSpace, name: str, ratio: Value = 2) -> Architecture:
    """A network whose layers repeat a pattern of mixers, of the largest sizes but for the feed-forward.

    Raises:
        ValueError: when the name or a part of it is unknown.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise ValueError(f"a pattern reads KIND+KIND@LAYERS, such as attention+sliding_window@6, not {name!r}")
    kinds, depth = match[1].split("+"), int(match[2])
    values = {choice.name: choice.options[-1] for choice in space.choices} | {"depth": depth}
    for layer in range(depth):
        values |= {f"layer{layer + 1}_mixer": kinds[layer % len(kinds)], f"layer{layer + 1}_ratio": ratio}
    return space.architectures(space.codes([Architecture(space.name, tuple(values.items()))]))[0]


def front(stages: Stages, n: int, latency: str = "decode_2048_ms") -> list[Architecture]:
    """At most `n` networks that no other one beats in bits per byte and time per token on the first device."""
    evaluations = stages.evaluations()
    names = ("bits_per_byte", f"{latency}.{stages.config.devices[0]}")
    values = np.array([[evaluation.metrics[name] for name in names] for evaluation in evaluations])
    kept = [e for e, on in zip(evaluations, nondominated(values), strict=True) if on]
    kept.sort(key=lambda e: e.metrics[names[1]])
    places = np.unique(np.linspace(0, len(kept) - 1, min(n, len(kept))).round().astype(int))
    return [kept[place].architecture for place in places]


def best_under(stages: Stages, other: Architecture) -> Architecture:
    """The evaluated network of fewest bits per byte that is predicted no slower than `other` on the first device, in any
    phase that was searched for.

    Raises:
        ValueError: when none is so fast.
    """
    evaluations, ending = stages.evaluations(), f"_ms.{stages.config.devices[0]}"
    limits = {
        metric.name: float(metric.values(stages.space.codes([other]))[0])
        for metric in stages.metrics
        if metric.name.endswith(ending) and metric.name in evaluations[0].metrics and metric.values is not None
    }
    fast = [e for e in evaluations if all(e.metrics[name] <= limit for name, limit in limits.items())]
    if not fast:
        raise ValueError(f"no network that was evaluated is as fast as {limits}")
    return min(fast, key=lambda e: e.metrics["bits_per_byte"]).architecture
