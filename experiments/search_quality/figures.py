"""How good a search was, as a function of the networks that it evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import hypervolume

Values = NDArray[np.float64]


def growth(values: Values, front: Values, reference: Values) -> Values:
    """Hypervolume after each evaluation, as a share of that of the true front, shape (n,).

    Args:
        values: to be minimised, in the order of the evaluations, shape (n, objectives).
        front: all best trade-offs, shape (m, objectives).
        reference: worst values that count, shape (objectives,).
    """
    ideal = hypervolume(front, reference)
    found, volume = np.zeros((0, len(reference))), 0.0
    shares = []
    for value in values:
        if (value < reference).all() and not (found <= value).all(axis=1).any():
            found = np.concatenate([found[~(found >= value).all(axis=1)], value[None]])
            volume = hypervolume(found, reference)
        shares.append(volume / ideal)
    return np.array(shares)


def evaluations_to(shares: Values, share: float) -> float:
    """Number of the first evaluation after which `shares` are at least `share`; infinite when that never happens."""
    reached = np.flatnonzero(shares >= share)
    return float(reached[0] + 1) if len(reached) else math.inf


def quantile(numbers: Sequence[float], share: float) -> float | None:
    """Linear between the two nearest numbers, as numpy's; `None` where it is infinite."""
    ordered = sorted(numbers)
    position = share * (len(ordered) - 1)
    low = int(position)
    weight = position - low
    value = ordered[low] if weight == 0 else ordered[low] * (1 - weight) + ordered[low + 1] * weight
    return value if math.isfinite(value) else None


def spread(numbers: Sequence[float]) -> dict[str, float | int | None]:
    """Median and quartiles, and how many of the numbers are finite."""
    quartiles = {name: quantile(numbers, share) for name, share in (("median", 0.5), ("q25", 0.25), ("q75", 0.75))}
    return {**quartiles, "reached": sum(map(math.isfinite, numbers))}


def at(shares: Sequence[Values], evaluations: Sequence[int]) -> dict[str, list[float]]:
    """Lower quartile, median and upper quartile over runs of the share after so many evaluations.

    A run that ended earlier, since it had evaluated everything, keeps its last share.
    """
    found = {}
    for n in evaluations:
        reached = [float(run[min(n, len(run)) - 1]) for run in shares]
        found[str(n)] = np.quantile(reached, [0.25, 0.5, 0.75]).tolist()
    return found
