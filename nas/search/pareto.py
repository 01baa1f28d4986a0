"""The Pareto front of many points, and the hypervolume that it dominates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def nondominated(values: Values) -> NDArray[np.bool_]:
    """Which points no other one dominates: is as good in all objectives and better in one.

    Args:
        values: to be minimised, shape (n, objectives).

    Returns:
        Mask of shape (n,). Equal points are all in it or all not.
    """
    left = np.argsort(values.sum(axis=1), kind="stable")  # good ones first: they remove the most
    position = 0
    while position < len(left):
        points = values[left]
        kept = (points < points[position]).any(axis=1) | (points == points[position]).all(axis=1)
        left = left[kept]
        position = int(kept[: position + 1].sum())
    mask = np.zeros(len(values), dtype=bool)
    mask[left] = True
    return mask


def hypervolume(values: Values, reference: Values) -> float:
    """Volume between the points and `reference`, exactly.

    Two objectives take a sweep; each further one slices the volume, which takes n times as long for n points on the
    front (While et al., "A faster algorithm for calculating hypervolume", IEEE TEC 2006, call it HSO).

    Args:
        values: to be minimised, shape (n, objectives); what is not better than `reference` in all objectives does
            not count.
        reference: shape (objectives,).
    """
    points = values[(values < reference).all(axis=1)]
    points = np.unique(points[nondominated(points)], axis=0)
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - points[0, 0])
    if points.shape[1] == 2:  # sorted by the first objective, so falling in the second one
        widths = np.diff(np.append(points[:, 0], reference[0]))
        return float(widths @ (reference[1] - points[:, 1]))
    points = points[np.argsort(points[:, -1], kind="stable")]
    heights = np.diff(np.append(points[:, -1], reference[-1]))
    slices = [
        hypervolume(points[: end + 1, :-1], reference[:-1]) if heights[end] else 0.0 for end in range(len(points))
    ]
    return float(heights @ np.array(slices))
