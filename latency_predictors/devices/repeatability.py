"""Whether a device gives the same latencies twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latency_predictors.devices.device import Device
from latency_predictors.devices.measuring import Progress, complete, measure_architectures
from latency_predictors.metrics import spearman
from search_spaces import SearchSpace

MAX_ERROR, MIN_SPEARMAN = 0.05, 0.97


@dataclass(frozen=True)
class Repeatability:
    """Agreement of two passes over the same networks.

    Attributes:
        spearman: rank correlation.
        error: median relative difference.
    """

    spearman: float
    error: float

    @property
    def fit(self) -> bool:
        """Whether a predictor fitted to such measurements would mean something."""
        return self.error <= MAX_ERROR and self.spearman >= MIN_SPEARMAN


def repeatability(
    device: Device, space: SearchSpace, networks: int = 12, progress: Progress | None = None
) -> Repeatability:
    """Measure random networks of `space` twice, one whole pass after the other."""
    architectures = space.sample(networks, seed=0)

    def one_pass(number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        def advance(done: int, total: int) -> None:
            if progress is not None:
                progress(number * total + done, 2 * total)

        measured = complete(
            measure_architectures(device, space, architectures, seed=number, max_seconds=20, progress=advance)
        )
        return np.array([measurement.latency_ms for measurement in measured])

    first, second = one_pass(0), one_pass(1)
    return Repeatability(spearman(first, second), float(np.median(np.abs(first - second) / first)))
