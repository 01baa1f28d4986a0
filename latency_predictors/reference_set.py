"""Which architectures to measure on a new device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latency_predictors.simulated_devices import SimulatedDevices
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

#: Random architectures to pick from. Each may need operators traced for it.
CANDIDATES = 128
#: Scale of the noise, relative to the standard deviation of the log latencies of a device.
RELATIVE_NOISE = 0.5
#: Deviation of the level of a device, on the same scale.
LEVEL = 10.0
SEED = 0


def reference_set(space: SearchSpace, phase: str, n: int) -> list[Architecture]:
    """`n` distinct architectures whose latencies tell most about all others, whatever the device.

    Chosen from random ones and the smallest and the largest, as `choose` does. Deterministic: the same space gives the
    same set.

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
    return [candidates[row] for row in choose(space, phase, space.codes(candidates), n)]


def choose(
    space: SearchSpace,
    phase: str,
    candidates: Codes,
    n: int,
) -> NDArray[np.int64]:
    """Which `n` of the `candidates` to measure, whatever the device.

    One after the other, the candidate that lowers the mean posterior variance of all of them most, under the prior of
    `SimulatedDevices` (V-optimal design, Seo et al., IJCNN 2000). All simulated devices count alike: the log latencies
    of each are divided by their standard deviation.

    Args:
        space: the search space.
        phase: one of `space.phases`.
        candidates: codes, shape (m, number of choices).
        n: how many.

    Returns:
        Rows of `candidates`, shape (n,), the most informative first.

    Raises:
        ValueError: when there are fewer than `n` different candidates, or there is no such phase.
    """
    canonical = space.canonical(candidates)
    _, first = np.unique(canonical, axis=0, return_index=True)
    rows = np.sort(first)
    if len(rows) < n:
        raise ValueError(f"{n} architectures cannot be chosen from {len(rows)} different ones")
    logs = SimulatedDevices(space, phase).log_ms(canonical[rows]).astype(np.float64)
    return np.asarray(rows[_greedy(_standardised(logs), n)], dtype=np.int64)


def _standardised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log latencies, shape (m, devices), less the average device, divided by the deviation of each; and a free level."""
    own = logs - logs.mean(axis=1, keepdims=True)
    own -= own.mean(axis=0)
    deviation = own.std(axis=0)
    own /= np.where(deviation > 0, deviation, 1) * np.sqrt(own.shape[1])
    return np.column_stack([own, np.full(len(own), LEVEL)])


def _greedy(features: NDArray[np.float64], n: int) -> list[int]:
    """Rows of `features` that greedily minimise the mean posterior variance of all rows, given standard normal weights."""
    moments, covariance = features.T @ features, np.eye(features.shape[1])
    chosen: list[int] = []
    while len(chosen) < n:
        spread = features @ covariance
        gain = np.sum(spread @ moments * spread, axis=1) / (np.sum(spread * features, axis=1) + RELATIVE_NOISE**2)
        gain[chosen] = -1
        best = int(np.argmax(gain))
        chosen.append(best)
        remaining = spread[best] @ features[best] + RELATIVE_NOISE**2
        covariance = covariance - np.outer(spread[best], spread[best]) / remaining
    return chosen
