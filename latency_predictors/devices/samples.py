"""What is computed from the samples of networks that were timed together.

`samples_ms` has the shape (networks, rounds, repeats) everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
Vector = NDArray[np.float64]


def fastest_ms(samples_ms: Samples) -> Vector:
    """The fastest run of each network, shape (networks,)."""
    fastest: Vector = samples_ms.min(axis=(1, 2))
    return fastest


def halves_ms(samples_ms: Samples) -> tuple[Vector, Vector]:
    """The fastest runs of the first, third, ... rounds and those of the others."""
    return fastest_ms(samples_ms[:, 0::2]), fastest_ms(samples_ms[:, 1::2])


def repeat_error(samples_ms: Samples) -> float:
    """Median over the networks of the relative difference between the two halves; 0 when there is no network."""
    if not len(samples_ms):
        return 0.0
    odd, even = halves_ms(samples_ms)
    return float(np.median(np.abs(odd - even) / np.minimum(odd, even)))


def drift(first_ms: Samples, now_ms: Samples) -> float:
    """The factor that brings latencies timed now to the speed the machine had first.

    It is the median over reference networks of the ratio of their latencies; 1 where that does not bring the two
    timings closer to each other. Whether it does is tested on what the factor was not computed from: the factor comes
    from one half of the rounds and, where there are several, from the other references; it is tested on the other half
    of the rounds of each reference.

    Args:
        first_ms: samples of the references when they were timed first.
        now_ms: of the same references, as they were timed now; the rounds may be more or fewer.
    """
    if not len(first_ms):
        return 1.0
    first, now = np.log(halves_ms(first_ms)), np.log(halves_ms(now_ms))
    ratios = first - now  # of halves (2) and references
    without = np.abs(ratios).mean()
    corrected = np.abs(_others(ratios) - ratios[::-1]).mean()
    if not corrected < without:
        return 1.0
    return float(np.exp(np.median(np.log(fastest_ms(first_ms)) - np.log(fastest_ms(now_ms)))))


def _others(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each half and reference the median of the other references; its own value where it is the only one."""
    count = ratios.shape[1]
    if count == 1:
        return ratios
    others = [np.median(np.delete(ratios, index, axis=1), axis=1) for index in range(count)]
    return np.stack(others, axis=1)
