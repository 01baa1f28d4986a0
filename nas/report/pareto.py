"""Pareto fronts and exact hypervolumes.

A network dominates another one when it is at least as good in every objective and better in one. Networks with equal
values do not dominate each other: all of them are on the front, or none is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.search.metrics import Direction

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pareto_front(values: ArrayLike, directions: Sequence[Direction], feasible: ArrayLike | None = None) -> Mask:
    """Which rows no other row dominates. Rows of equal values are kept together.

    Args:
        values: shape (n, objectives).
        directions: one for each column.
        feasible: shape (n,); rows that are not feasible are neither on the front nor dominate. All are by default.

    Raises:
        ValueError: when shapes do not fit, a direction is unknown, or a value is NaN.
    """
    points = _minimised(values, directions)
    allowed = _feasible(feasible, len(points))
    front = np.zeros(len(points), dtype=bool)
    unique, inverse = np.unique(points[allowed], axis=0, return_inverse=True)
    front[allowed] = _nondominated(unique)[inverse.reshape(-1)]
    return front


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Exact volume of what `values` dominate, up to `reference`; all objectives are minimised.

    Args:
        values: shape (n, objectives); rows may be dominated, equal, or beyond the reference (these add nothing).
        reference: shape (objectives,).

    Raises:
        ValueError: when shapes do not fit, a value is NaN or minus infinity, or the reference is not finite.
    """
    corner = np.asarray(reference, dtype=np.float64).reshape(-1)
    points = _minimised(values, ["minimize"] * len(corner))
    _check_bounded(points, corner)
    return _volume(points[(points < corner).all(axis=1)], corner)


def reference_point(values: ArrayLike, directions: Sequence[Direction]) -> Floats:
    """A point a tenth of the range worse than the worst value of every objective, shape (objectives,).

    Raises:
        ValueError: as `pareto_front`, and when there is no row.
    """
    points = _minimised(values, directions)
    if not len(points):
        raise ValueError("a reference point needs at least one row of values")
    worst, best = points.max(axis=0), points.min(axis=0)
    margin = 0.1 * (worst - best)
    margin[margin == 0] = np.maximum(0.1 * np.abs(worst), 1e-9)[margin == 0]
    reference: Floats = (worst + margin) * _signs(directions)
    return reference


def hypervolume_history(
    values: ArrayLike, directions: Sequence[Direction], reference: ArrayLike, feasible: ArrayLike | None = None
) -> Floats:
    """Hypervolume of the first 1, 2, ..., n rows, shape (n,). A row adds what it alone dominates.

    Args:
        values: shape (n, objectives), in the order of completion.
        directions: one for each column.
        reference: shape (objectives,), in the units of `values`.
        feasible: shape (n,); rows that are not feasible add nothing. All are by default.

    Raises:
        ValueError: as `hypervolume`.
    """
    points = _minimised(values, directions)
    corner = np.asarray(reference, dtype=np.float64).reshape(-1) * _signs(directions)
    _check_bounded(points, corner)
    counts = _feasible(feasible, len(points)) & (points < corner).all(axis=1)
    front = np.empty((0, points.shape[1]))
    gains = np.zeros(len(points))
    for row in np.flatnonzero(counts):
        point = points[row]
        if (front <= point).all(axis=1).any():
            continue
        gains[row] = np.prod(corner - point) - _volume(np.maximum(front, point), corner)
        front = np.vstack([front[(front < point).any(axis=1)], point])
    return np.cumsum(gains)


def _signs(directions: Sequence[Direction]) -> Floats:
    unknown = [direction for direction in directions if direction not in ("maximize", "minimize")]
    if unknown:
        raise ValueError(f"a direction is 'maximize' or 'minimize', not {unknown[0]!r}")
    return np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])


def _minimised(values: ArrayLike, directions: Sequence[Direction]) -> Floats:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(directions) or not len(directions):
        raise ValueError(
            f"expected values of shape (n, {len(directions)}), one column for each objective, got {points.shape}"
        )
    if np.isnan(points).any():
        raise ValueError("a value is NaN: networks without a value cannot be compared")
    return points * _signs(directions)


def _feasible(feasible: ArrayLike | None, rows: int) -> Mask:
    mask = np.ones(rows, dtype=bool) if feasible is None else np.asarray(feasible, dtype=bool)
    if mask.shape != (rows,):
        raise ValueError(f"expected feasible of shape ({rows},), got {mask.shape}")
    return mask


def _check_bounded(points: Floats, corner: Floats) -> None:
    if corner.shape != points.shape[1:] or not np.isfinite(corner).all():
        raise ValueError(f"expected a finite reference of shape {points.shape[1:]}, got {corner}")
    if np.isneginf(points).any():
        raise ValueError("the hypervolume of an infinitely good value is not defined")


def _nondominated(points: Floats) -> Mask:
    """For distinct rows in lexicographic order (as `np.unique` gives them): only an earlier row can dominate."""
    front = np.zeros(len(points), dtype=bool)
    left = np.arange(len(points))
    while left.size:
        front[left[0]] = True
        left = left[1:][(points[left[1:]] < points[left[0]]).any(axis=1)]
    return front


def _volume(points: Floats, corner: Floats) -> float:
    """Hypervolume of points below the corner by exclusive volumes (While, Bradstreet, Barone: WFG, 2012).

    In order of falling last objective, the part of a point that the points after it also dominate has the point's own
    extent in the last objective, so that one objective fewer is left.
    """
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    if points.shape[1] == 2:
        return _area(points, corner)
    unique = np.unique(points, axis=0)
    ordered = unique[_nondominated(unique)]
    ordered = ordered[np.argsort(-ordered[:, -1], kind="stable")]
    extents = corner - ordered
    total = 0.0
    for row in range(len(ordered)):
        shared = _volume(np.maximum(ordered[row + 1 :, :-1], ordered[row, :-1]), corner[:-1])
        total += float(extents[row, -1] * (np.prod(extents[row, :-1]) - shared))
    return total


def _area(points: Floats, corner: Floats) -> float:
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest = np.minimum.accumulate(np.concatenate([corner[1:], ordered[:, 1]]))
    return float(((corner[0] - ordered[:, 0]) * (lowest[:-1] - lowest[1:])).sum())
