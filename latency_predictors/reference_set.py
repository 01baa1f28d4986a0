"""Which architectures to measure on a new device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

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


def choose(
    space: SearchSpace,
    phase: str,
    candidates: Codes,
    n: int,
    rng: np.random.Generator | None = None,
    bank: LatencyBank | None = None,
) -> NDArray[np.int64]:
    """Which `n` of the `candidates` to measure, by the rule of `reference_set`, whatever the device.

    Those of the fewest and of the most MACs come first.

    Args:
        space: the search space.
        phase: one of `space.phases`.
        candidates: codes, shape (m, number of choices).
        n: how many.
        rng: for rules that draw.
        bank: measurements of other devices, for rules that learn from them.

    Returns:
        Rows of `candidates`, shape (n,), the first measured first.

    Raises:
        ValueError: when there are fewer than `n` different candidates, or there is no such phase.
    """
    _, first = np.unique(space.canonical(candidates), axis=0, return_index=True)
    rows = np.sort(first)
    if len(rows) < n:
        raise ValueError(f"{n} architectures cannot be chosen from {len(rows)} different ones")
    features = space.features(candidates[rows], phase)
    macs = space.macs(candidates[rows], phase)
    ends = list(dict.fromkeys([int(np.argmin(macs)), int(np.argmax(macs))]))
    return np.asarray(rows[_greedy(_shares(features), n, ends)], dtype=np.int64)


def _shares(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features and a constant, each relative to its mean, then divided by their sum: rows add up to 1."""
    columns = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    mean = columns.mean(axis=0)
    scaled = columns[:, mean > 0] / mean[mean > 0]
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def _greedy(rows: NDArray[np.float64], n: int, first: Sequence[int] = (0, 1)) -> list[int]:
    """Indices of `n` rows, starting with `first`, that greedily minimise the mean posterior variance of all rows."""
    noise = RELATIVE_NOISE**2
    moments, covariance = rows.T @ rows, np.eye(rows.shape[1])
    chosen: list[int] = []
    while len(chosen) < n:
        spread = rows @ covariance
        gain = np.sum(spread @ moments * spread, axis=1) / (np.sum(spread * rows, axis=1) + noise)
        gain[chosen] = -1
        best = first[len(chosen)] if len(chosen) < min(n, len(first)) else int(np.argmax(gain))
        chosen.append(best)
        covariance = covariance - np.outer(spread[best], spread[best]) / (spread[best] @ rows[best] + noise)
    return chosen
