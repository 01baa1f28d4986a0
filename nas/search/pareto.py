"""Which of many points are the best trade-offs, and how much they dominate. Less is better in all objectives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def nondominated(values: Values) -> NDArray[np.bool_]:
    """Which rows no other row dominates; of equal rows all or none.

    Args:
        values: to be minimised, shape (n, objectives); not a number is an error of the caller.
    """
    unique, inverse = _distinct(values)
    return np.asarray(_best(unique)[inverse])


def _distinct(values: Values) -> tuple[Values, NDArray[np.intp]]:
    """Distinct rows in lexicographic order, and which of them each row is (as `numpy.unique`, much faster)."""
    order = np.lexsort(values.T[::-1])
    ordered = values[order]
    first = np.ones(len(values), dtype=bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(values), dtype=np.intp)
    inverse[order] = np.cumsum(first) - 1
    return ordered[first], inverse


def _best(unique: Values) -> NDArray[np.bool_]:
    """Of distinct rows in lexicographic order: which no other one dominates."""
    return _sweep(unique) if unique.shape[1] == 2 else _compare(unique)


def _sweep(unique: Values) -> NDArray[np.bool_]:
    """Of rows in the order of their first objective: whether the second one is less than in all rows before."""
    before = np.minimum.accumulate(np.concatenate([[np.inf], unique[:-1, 1]]))
    keep: NDArray[np.bool_] = unique[:, 1] < before
    if len(keep):
        keep[0] = True
    return keep


def _compare(unique: Values) -> NDArray[np.bool_]:
    """Of distinct rows in lexicographic order, in which no row is dominated by a later one."""
    keep = np.ones(len(unique), dtype=bool)
    for row in range(len(unique)):
        if keep[row]:
            keep[row + 1 :] &= (unique[row + 1 :] < unique[row]).any(axis=1)
    return keep


def layers(values: Values, enough: int | None = None) -> NDArray[np.int64]:
    """Number of the layer of each row (Deb et al., 2002): 0 for the best trade-offs, 1 for the best of the rest, ...

    Args:
        values: to be minimised, shape (n, objectives).
        enough: rows whose layers are told apart, by default all; the others count as one more layer.
    """
    unique, inverse = _distinct(values)
    weights = np.bincount(inverse, minlength=len(unique))
    missing = len(values) if enough is None else enough
    found = np.zeros(len(unique), dtype=np.int64)
    rest = np.arange(len(unique))
    while len(rest) and missing > 0:
        best = _best(unique[rest])
        missing -= int(weights[rest[best]].sum())
        rest = rest[~best]
        found[rest] += 1
    return np.asarray(found[inverse])


def crowding(values: Values) -> NDArray[np.float64]:
    """Crowding distance of each row (Deb et al., 2002): how far apart its neighbours in each objective are, summed.

    Args:
        values: of one layer, shape (n, objectives).

    Returns:
        Shape (n,), in units of the range of each objective; infinite at both ends.
    """
    total = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        gaps = np.full(len(column), np.inf)
        gaps[1:-1] = (ordered[2:] - ordered[:-2]) / max(np.ptp(column), np.finfo(float).tiny)
        total[order] += gaps
    return total


def hypervolume(values: Values, reference: Values) -> float:
    """Volume that is dominated by a row of `values` and dominates `reference` (Zitzler and Thiele, 1998).

    Two objectives take O(n log n); each further one a factor of n (slices along the last objective).

    Args:
        values: to be minimised, shape (n, objectives).
        reference: worst values that count, shape (objectives,).
    """
    inside = values[(values < reference).all(axis=1)]
    return _volume(inside[nondominated(inside)], np.asarray(reference, dtype=float))


def _volume(front: Values, reference: Values) -> float:
    if not len(front):
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - front.min())
    front = front[np.argsort(front[:, -1], kind="stable")]
    heights = np.diff(np.append(front[:, -1], reference[-1]))
    if len(reference) == 2:
        return float(((reference[0] - np.minimum.accumulate(front[:, 0])) * heights).sum())
    slices = np.flatnonzero(heights > 0)
    return float(sum(hypervolume(front[: row + 1, :-1], reference[:-1]) * heights[row] for row in slices))
