"""Whether a device gives the same latencies twice, and what to do when it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latency_predictors.devices.device import Device
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.measuring import Progress, complete, measure_architectures
from latency_predictors.metrics import spearman
from search_spaces import SearchSpace

MAX_ERROR, MIN_SPEARMAN = 0.05, 0.97
#: Running programs, on average over the last minute, that a machine for measuring may have.
MAX_LOAD = 0.5


@dataclass(frozen=True)
class Repeatability:
    """Agreement of two passes over the same networks.

    Attributes:
        spearman: rank correlation.
        error: median relative difference.
        fingerprint: of the device before the first pass.
        spinning: whether its threads spin while they wait.
    """

    spearman: float
    error: float
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    spinning: bool = False

    @property
    def fit(self) -> bool:
        """Whether a predictor fitted to such measurements would mean something."""
        return self.error <= MAX_ERROR and self.spearman >= MIN_SPEARMAN

    def advice(self) -> list[str]:
        """What may make the device repeat itself better, by what its fingerprint shows; one item at least."""
        return list(self._advice()) or [
            "nothing in its fingerprint explains it: measure when the machine is quieter and not hot, or pin the "
            "process to one core (taskset -c 0 nas ...)"
        ]

    def _advice(self) -> Iterator[str]:
        mark = self.fingerprint
        threads, cores = mark.get("threads", 1), mark.get("cores", 1)
        if mark.get("load_average", 0.0) > MAX_LOAD:
            yield f"close other programs: {mark['load_average']:.1f} were running on its {cores} cores"
        if mark.get("governor") not in (None, "performance"):
            yield (
                f"fix the processor's frequency, its governor is {mark['governor']}: "
                "sudo cpupower frequency-set -g performance"
            )
        if threads > cores:
            yield f"use {cores} threads or fewer, not {threads}: it has {cores} cores"
        elif threads > 1:
            yield f"pin the process to {threads} idle cores (taskset -c 0-{threads - 1} nas ...), or use --threads 1"
        if threads > 1 and self.spinning:
            yield "let threads sleep while they wait: --option spinning=false"


def repeatability(
    device: Device, space: SearchSpace, networks: int = 12, progress: Progress | None = None
) -> Repeatability:
    """Measure random networks of `space` twice, one whole pass after the other, each in a process of its own.

    Raises:
        ValueError: when the device cannot be used, or a network cannot be measured.
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    architectures, marks = space.sample(networks, seed=0), fingerprint(device)

    def one_pass(number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        def advance(done: int, total: int) -> None:
            if progress is not None:
                progress(number * total + done, 2 * total)

        measured = complete(
            measure_architectures(device, space, architectures, seed=number, max_seconds=20, progress=advance)
        )
        return np.array([measurement.latency_ms for measurement in measured])

    first, second = one_pass(0), one_pass(1)
    error = float(np.median(np.abs(first - second) / first))
    return Repeatability(spearman(first, second), error, marks, bool(device.options.get("spinning")))
