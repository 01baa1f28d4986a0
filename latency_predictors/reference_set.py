"""Which architectures to measure on a new device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces import Architecture, SearchSpace

#: Random architectures to pick from. More gave no better sets, and each may need operators traced for it.
CANDIDATES = 64
RELATIVE_NOISE = 0.05
SEED = 0


def reference_set(space: SearchSpace, phase: str, n: int) -> list[Architecture]:
    """`n` distinct architectures whose latencies tell most about all others, whatever the device.

    The smallest and the largest come first; then, greedily, the candidate that lowers the mean posterior variance of
    a Bayesian linear model most (V-optimal design, Seo et al., IJCNN 2000). The model predicts relative
    latency from the share that each cost has in an architecture. Deterministic: the same space gives the same set.

    Args:
        space: the search space.
        phase: one of `space.phases`.
        n: how many, 2 or more.

    Raises:
        ValueError: when `n` is less than 2 or more than the space has, or there is no such phase.
    """
    if n < 2:
        raise ValueError(f"a reference set has 2 architectures or more, not {n}")
    if n > space.size:
        raise ValueError(f"space {space.name!r} has {space.size} architectures, fewer than the {n} asked for")
    ends = [space.smallest(), space.largest()]
    drawn = space.sample(min(space.size, max(CANDIDATES, 4 * n)), SEED)
    candidates = list(dict.fromkeys([*ends, *drawn]))
    shares = _shares(space.features(space.codes(candidates), phase))
    return [candidates[index] for index in _greedy(shares, n)]


def _shares(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features and a constant, each relative to its mean, then divided by their sum: rows add up to 1."""
    columns = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    mean = columns.mean(axis=0)
    scaled = columns[:, mean > 0] / mean[mean > 0]
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def _greedy(rows: NDArray[np.float64], n: int) -> list[int]:
    """Indices of `n` rows, starting with 0 and 1, that greedily minimise the mean posterior variance of all rows."""
    noise = RELATIVE_NOISE**2
    covariance = rows @ rows.T
    chosen: list[int] = []
    while len(chosen) < n:
        gain = np.square(covariance).sum(axis=0) / (np.diag(covariance) + noise)
        gain[chosen] = -1
        best = len(chosen) if len(chosen) < 2 else int(np.argmax(gain))
        chosen.append(best)
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / (column[best] + noise)
    return chosen
