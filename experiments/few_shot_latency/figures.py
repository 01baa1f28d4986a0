"""How good a prediction is, on the queries of one device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from experiments.few_shot_latency.methods import Guess
from latency_predictors.metrics import coverage, kendall, mdape, spearman

Column = NDArray[np.float64]
Figures = dict[str, float | None]

#: Share of the queries that `rho80` leaves out on either side.
TRIMMED = 0.1
#: Fewer queries of one resolution say nothing of their order.
LEAST_OF_ONE_RESOLUTION = 5


def figures(guess: Guess, measured_ms: Column, macs: Column, resolution: NDArray[np.int64] | None = None) -> Figures:
    """All figures of one prediction.

    Args:
        guess: what was predicted for n queries.
        measured_ms: what the device took, shape (n,).
        macs: of the queries, shape (n,).
        resolution: of the queries, shape (n,), where the space has it.

    Returns:
        `rho` (Spearman), `rho80` (of the middle 80 %), `tau` (Kendall's tau-b), `mdape` (%), `coverage90` (0 to 1),
        `rho_given_macs` and `rho_one_resolution`; `None` where there is none.

    Raises:
        ValueError: when there are fewer than two queries, or a number is not finite.
    """
    middle = middle_rows(measured_ms)
    covered = None
    if guess.low_ms is not None and guess.high_ms is not None:
        covered = coverage(guess.low_ms, guess.high_ms, measured_ms)
    return {
        "rho": spearman(guess.mean_ms, measured_ms),
        "rho80": spearman(guess.mean_ms[middle], measured_ms[middle]),
        "tau": kendall(guess.mean_ms, measured_ms),
        "mdape": mdape(guess.mean_ms, measured_ms),
        "coverage90": covered,
        "rho_given_macs": partial(guess.mean_ms, measured_ms, macs),
        "rho_one_resolution": None if resolution is None else within(guess.mean_ms, measured_ms, resolution),
    }


def middle_rows(measured_ms: Column) -> NDArray[np.intp]:
    """The rows without the fastest and the slowest tenth; of equal ones the first count as the faster."""
    cut = round(TRIMMED * len(measured_ms))
    return np.argsort(measured_ms, kind="stable")[cut : len(measured_ms) - cut]


def partial(predicted: Column, measured: Column, given: Column) -> float | None:
    """Spearman's rank correlation of what the ranks of `given` leave; `None` where they leave nothing."""
    a, b, c = spearman(predicted, measured), spearman(predicted, given), spearman(measured, given)
    left = (1 - b * b) * (1 - c * c)
    return (a - b * c) / sqrt(left) if left > 1e-12 else None


def within(predicted: Column, measured: Column, group: NDArray[np.int64]) -> float | None:
    """Spearman's rank correlation within each group, averaged over their members."""
    sizes, found = [], []
    for value in np.unique(group):
        rows = group == value
        if rows.sum() >= LEAST_OF_ONE_RESOLUTION:
            sizes.append(int(rows.sum()))
            found.append(spearman(predicted[rows], measured[rows]))
    return float(np.average(found, weights=sizes)) if found else None


def mean(several: Sequence[Mapping[str, float | None]]) -> Figures:
    """Mean of each figure over those that have it."""
    return {name: _mean(one[name] for one in several) for name in several[0]}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def geometric_mean(values: Sequence[float]) -> float | None:
    """`None` when a value is not above 0."""
    return float(np.exp(np.mean(np.log(values)))) if min(values) > 0 else None
