"""The benchmark: draw samples, calibrate, predict, compare; for each draw and each device that is unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from experiments.few_shot_latency.baselines import method as find_method
from experiments.few_shot_latency.dataset import Dataset
from experiments.few_shot_latency.figures import Figures, figures, geometric_mean, mean
from experiments.few_shot_latency.methods import Method, Scenario
from experiments.few_shot_latency.protocols import Rows, Split, split
from experiments.few_shot_latency.sample_sets import SAMPLE_SETS
from latency_predictors import MatrixBank
from search_spaces.space import nearest

#: Architectures that are predicted at once to find the speed, and how often: the fastest counts.
AT_ONCE, REPEATS = 100_000, 3

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        method: name of a predictor or baseline.
        train_devices: whose latencies are known.
        test_devices: each in its turn is the unseen one.
        samples: measurements of the unseen device.
        draws: how often they are drawn anew.
        protocol: `help`, `all`, or `None` for `help` where HELP has a split.
        sample_set: `reference` or `random`.
        seed: of the draws.
    """

    method: str
    train_devices: tuple[str, ...]
    test_devices: tuple[str, ...]
    samples: int = 10
    draws: int = 20
    protocol: str | None = None
    sample_set: str = "reference"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.test_devices:
            raise ValueError("give at least one device to test on")
        if self.samples < 0 or self.draws < 1:
            raise ValueError(f"samples must be 0 or more and draws 1 or more, not {self.samples} and {self.draws}")
        if self.sample_set not in SAMPLE_SETS:
            raise ValueError(
                f"there is no sample set {self.sample_set!r}{nearest(self.sample_set, SAMPLE_SETS)}; "
                f"there are {', '.join(SAMPLE_SETS)}"
            )
        named = [*self.train_devices, *self.test_devices]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice: a device is for training or for testing, once")


def run(
    data: Dataset, plan: Plan, progress: Advance = lambda done, total: None, method: Method | None = None
) -> dict[str, Any]:
    """All figures of a method, on one thread.

    The method is made once and learns from the training devices; then, for each draw and device, it is given the
    samples and asked for the queries. Nothing else of a test device reaches it.

    Args:
        data: the latencies.
        plan: what is run.
        progress: called with the calibrations that are done and all of them.
        method: by default the one that the plan names.

    Returns:
        `devices` and `mean` with the figures of `figures`, and what the README says; JSON values.

    Raises:
        ValueError: when a device or method does not exist, or the table does not allow the plan.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return _Run(data, plan, method or find_method(plan.method)).results(progress)
    finally:
        torch.set_num_threads(threads)


class _Run:
    def __init__(self, data: Dataset, plan: Plan, method: Method) -> None:
        self.data, self.plan = data, plan
        self.split: Split = split(data, plan.protocol)
        self.test_ms = data.matrix(plan.test_devices)
        self.method = method
        if plan.samples < self.method.min_samples:
            raise ValueError(f"method {plan.method!r} needs {self.method.min_samples} samples or more")
        self.scenario = self._scenario()
        names = [choice.name for choice in data.space.choices]
        self.resolution = data.codes[:, names.index("resolution")] if "resolution" in names else None
        self.macs = data.space.macs(data.codes, data.phase)
        self.choices: dict[tuple[int, bytes], tuple[Rows, float]] = {}

    def _scenario(self) -> Scenario:
        data, devices = self.data, self.plan.train_devices
        train_ms, pool, bank = data.matrix(devices), self.split.pool, None
        if devices:
            bank = MatrixBank.of(data.space, data.codes[pool], train_ms[pool], devices, data.phase)
        return Scenario(data.space, data.phase, data.codes, bank, train_ms)

    def results(self, progress: Advance) -> dict[str, Any]:
        plan, started = self.plan, perf_counter()
        self.method.learn(self.scenario)
        learning_s = perf_counter() - started
        found: dict[str, list[Figures]] = {device: [] for device in plan.test_devices}
        calibration_ms, choice_ms = [], []
        for draw in range(plan.draws):
            for column, device in enumerate(plan.test_devices):
                rows, choosing_s = self._samples(draw, column)
                started = perf_counter()
                self.method.calibrate(rows, self.test_ms[rows, column])
                calibration_ms.append(1e3 * (perf_counter() - started + choosing_s))
                choice_ms.append(1e3 * choosing_s)
                found[device].append(self._figures(rows, column))
                progress(draw * len(plan.test_devices) + column + 1, plan.draws * len(plan.test_devices))
        devices = {device: self._summary(device, several) for device, several in found.items()}
        shown = mean([mean(several) for several in found.values()])
        return {
            "devices": devices,
            "mean": shown,
            "geometric_mean_rho": geometric_mean([one["rho"] for one in devices.values()]),
            "calibration_ms": float(np.median(calibration_ms)),
            "choice_ms": float(np.median(choice_ms)),
            "architectures_per_s": self._speed(),
            "learning_s": learning_s,
            "space": self.data.space.name,
            "phase": self.data.phase,
            **asdict(plan),
            "protocol": plan.protocol or ("help" if self.data.help else "all"),
            "pool": len(self.split.pool),
            "looks_up_queries": self.method.looks_up_queries,
        }

    def _samples(self, draw: int, column: int) -> tuple[Rows, float]:
        """Rows to measure on a device in a draw, and the seconds that the choice took. Of the device only is used
        which rows it has at all."""
        plan, pool = self.plan, self.split.pool
        allowed = pool[~np.isnan(self.test_ms[pool, column])]
        if len(allowed) < plan.samples:
            raise ValueError(
                f"{plan.test_devices[column]} has {len(allowed)} rows to measure, fewer than {plan.samples} samples"
            )
        key = draw, allowed.tobytes()
        if key not in self.choices:
            rng, started = np.random.default_rng([plan.seed, draw]), perf_counter()
            choice = SAMPLE_SETS[plan.sample_set] if plan.samples else SAMPLE_SETS["random"]
            picked = choice(self.method, allowed, plan.samples, rng)
            seconds = perf_counter() - started
            if len(np.intersect1d(picked, allowed)) != plan.samples or len(picked) != plan.samples:
                raise ValueError(
                    f"method {plan.method!r} chose {len(picked)} rows, not {plan.samples} that are different"
                )
            self.choices[key] = picked, seconds
        return self.choices[key]

    def _queries(self, rows: Rows, column: int) -> Rows:
        queries = np.setdiff1d(self.split.queries, rows)
        return np.asarray(queries[~np.isnan(self.test_ms[queries, column])])

    def _figures(self, rows: Rows, column: int) -> Figures:
        queries = self._queries(rows, column)
        if len(queries) < 2:
            raise ValueError(f"{self.plan.test_devices[column]} has fewer than two rows to predict")
        resolution = None if self.resolution is None else self.resolution[queries]
        guess = self.method.predict(queries)
        shown = figures(guess, self.test_ms[queries, column], self.macs[queries], resolution)
        return {**shown, "queries": float(len(queries))}

    def _summary(self, device: str, several: Sequence[Figures]) -> dict[str, Any]:
        """Means over the draws, and the standard deviation of `rho`."""
        shown = mean(several)
        return {**shown, "rho_deviation": float(np.std([one["rho"] for one in several if one["rho"] is not None]))}

    def _speed(self) -> float:
        rows: NDArray[np.int64] = np.resize(self.split.queries, AT_ONCE)
        seconds = []
        for _ in range(REPEATS):
            started = perf_counter()
            self.method.predict(rows)
            seconds.append(perf_counter() - started)
        return AT_ONCE / min(seconds)
