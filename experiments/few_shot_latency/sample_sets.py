"""Which rows are measured on the unseen device, of those that may be. Nothing here knows what the device took."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from experiments.few_shot_latency.methods import Method
from experiments.few_shot_latency.protocols import Rows


def _reference(method: Method, rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    """The method's own choice among a random half, so that draws differ."""
    return method.choose(rng.permutation(rows)[: max(n, (len(rows) + 1) // 2)], n, rng)


def _random(method: Method, rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    return rng.permutation(rows)[:n]


SAMPLE_SETS: Mapping[str, Callable[[Method, Rows, int, np.random.Generator], Rows]] = {
    "reference": _reference,
    "random": _random,
}
