"""Simple methods that a predictor has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.few_shot_latency.methods import Column, Guess, Method, Predictor, Scenario, SpaceChoice
from experiments.few_shot_latency.protocols import Rows
from latency_predictors import LatencyPredictor, get, names
from search_spaces.space import nearest

#: Strengths of regularisation that ridge regression tries, by leaving out one sample after the other.
STRENGTHS = np.logspace(-3, 3, 13)
#: Of the empirical-Bayes prior: how many factors, and which noises (of log latency) and scales of the prior are tried.
FACTORS = 6
NOISES = np.geomspace(0.01, 0.3, 8)
SCALES = np.geomspace(0.3, 3, 5)
#: Noise that is assumed when samples are chosen.
NOISE = 0.05
#: Standard deviation of a device's log latency around that of the training devices: nothing is known.
OFFSET = 10.0
#: Quantile of the normal distribution that leaves 5 %.
NORMAL = 1.6448536269514722


class Macs(SpaceChoice):
    """MACs; the samples give one factor (the median ratio), so that the order needs none. Without samples: 1 ms for 10^6."""

    min_samples = 0

    def learn(self, scenario: Scenario) -> None:
        super().learn(scenario)
        self._macs = scenario.space.macs(scenario.codes, scenario.phase) / 1e6

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        self._factor = float(np.median(measured_ms / self._macs[rows])) if len(rows) else 1.0

    def predict(self, rows: Rows) -> Guess:
        return Guess(self._factor * self._macs[rows])


class Ridge(SpaceChoice):
    """Ridge regression of log latency on some features of the architecture."""

    min_samples = 2

    def learn(self, scenario: Scenario) -> None:
        super().learn(scenario)
        self._features = self.features(scenario)

    def features(self, scenario: Scenario) -> NDArray[np.float64]:
        """One column for each option of each choice, shape (n, f)."""
        columns = [
            scenario.codes[:, column] == option
            for column, choice in enumerate(scenario.space.choices)
            for option in range(len(choice.options))
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        from sklearn.linear_model import RidgeCV

        self._model: Any = RidgeCV(STRENGTHS).fit(self._features[rows], np.log(measured_ms))

    def predict(self, rows: Rows) -> Guess:
        return Guess(np.exp(self._model.predict(self._features[rows])))


class RidgeDevices(Ridge):
    """Ridge regression on the log latencies of the training devices, those of the queries included."""

    looks_up_queries = True

    def features(self, scenario: Scenario) -> NDArray[np.float64]:
        logs = _log_devices(scenario, "ridge_devices")
        return np.asarray((logs - logs.mean(axis=0)) / logs.std(axis=0))


class LowRank(Method):
    """A device is a level and a few factors of the training devices' standardised log latencies, those of the queries
    included.

    The prior of the factors' weights is normal, with the second moments that they have over the training devices; its
    scale and the noise are those of the largest evidence of the samples (empirical Bayes). It measures what lowers the
    mean posterior variance of all rows most.
    """

    looks_up_queries = True

    def learn(self, scenario: Scenario) -> None:
        logs = _log_devices(scenario, "low_rank")
        self._level = float(logs.mean())
        deviation = logs.std(axis=0)
        # Devices with wide latencies would otherwise decide the factors alone.
        alike = (logs - logs.mean(axis=0)) * (deviation.mean() / deviation)
        left, strength, _ = np.linalg.svd(alike, full_matrices=False)
        kept = min(FACTORS, len(strength))
        # Columns are scaled so that weights are standard normal; the last one is the level.
        factors = left[:, :kept] * strength[:kept] / np.sqrt(logs.shape[1])
        self._factors = np.concatenate([factors, np.full((len(logs), 1), OFFSET)], axis=1)

    def choose(self, rows: Rows, n: int, rng: np.random.Generator) -> Rows:
        return np.asarray(rows[greedy(self._factors[rows], n, NOISE)])

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        target = np.log(measured_ms) - self._level
        tried = [self._posterior(self._factors[rows], target, scale, noise) for scale in SCALES for noise in NOISES]
        _, self._mean, self._covariance, self._noise = max(tried, key=lambda one: one[0])

    def _posterior(
        self, factors: NDArray[np.float64], target: Column, scale: float, noise: float
    ) -> tuple[float, Column, NDArray[np.float64], float]:
        """Log evidence; mean and covariance of the weights; the noise."""
        prior = np.append(np.full(factors.shape[1] - 1, scale**2), 1.0)
        cross = factors * prior
        covariance = cross @ factors.T + noise**2 * np.eye(len(factors))
        solved = np.linalg.solve(covariance, np.column_stack([target, cross]))
        evidence = -0.5 * float(target @ solved[:, 0] + np.linalg.slogdet(covariance)[1])
        return evidence, cross.T @ solved[:, 0], np.diag(prior) - cross.T @ solved[:, 1:], noise

    def predict(self, rows: Rows) -> Guess:
        factors = self._factors[rows]
        mean = self._level + factors @ self._mean
        variance = np.maximum(np.sum(factors @ self._covariance * factors, axis=1), 0) + self._noise**2
        width = NORMAL * np.sqrt(variance)
        return Guess(np.exp(mean), np.exp(mean - width), np.exp(mean + width))


def greedy(factors: NDArray[np.float64], n: int, noise: float) -> Rows:
    """Which `n` rows to measure, one after the other, so that the mean posterior variance of all falls most.

    Args:
        factors: of each row, shape (rows, f); their weights are standard normal.
        n: how many.
        noise: standard deviation of a measurement.
    """
    covariance, moments = np.eye(factors.shape[1]), factors.T @ factors
    chosen: list[int] = []
    for _ in range(n):
        spread = factors @ covariance
        gain = np.sum(spread @ moments * spread, axis=1) / (np.sum(spread * factors, axis=1) + noise**2)
        gain[chosen] = -1
        best = int(np.argmax(gain))
        chosen.append(best)
        covariance -= np.outer(spread[best], spread[best]) / (spread[best] @ factors[best] + noise**2)
    return np.array(chosen, dtype=np.int64)


def _log_devices(scenario: Scenario, name: str) -> NDArray[np.float64]:
    """Log latencies of the training devices, shape (n, devices)."""
    if not scenario.train_ms.shape[1]:
        raise ValueError(f"method {name!r} needs training devices: give --train-devices")
    if np.isnan(scenario.train_ms).any():
        raise ValueError(f"method {name!r} needs the latency of every row on every training device")
    return np.asarray(np.log(scenario.train_ms))


BASELINES: Mapping[str, Callable[[], Method]] = {
    "macs": Macs,
    "ridge": Ridge,
    "ridge_devices": RidgeDevices,
    "low_rank": LowRank,
}


def method(name: str) -> Method:
    """A baseline, or a predictor of the project.

    Raises:
        ValueError: when there is neither, naming the nearest one.
    """
    if name in BASELINES:
        return BASELINES[name]()
    if name in names():
        return _predictor(name)
    known = methods()
    raise ValueError(f"there is no method {name!r}{nearest(name, known)}; there are {', '.join(known)}")


def methods() -> list[str]:
    """The predictors of the project that a table is enough for, then the baselines."""
    return [*(name for name in names() if not _measures_parts(get(name))), *BASELINES]


def _predictor(name: str) -> Predictor:
    kind = get(name)
    if _measures_parts(kind):
        raise ValueError(f"method {name!r} measures parts of networks on the device, which no table holds")
    return Predictor(kind)


def _measures_parts(kind: type[LatencyPredictor]) -> bool:
    return kind.measure_parts is not LatencyPredictor.measure_parts
