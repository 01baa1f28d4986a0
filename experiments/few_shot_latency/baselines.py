"""Simple methods that a predictor has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.few_shot_latency.methods import Column, Guess, Method, Predictor, Scenario
from experiments.few_shot_latency.protocols import Rows
from latency_predictors import get, names
from search_spaces.space import nearest

#: Strengths of regularisation that ridge regression tries, by leaving out one sample after the other.
STRENGTHS = np.logspace(-3, 3, 13)
#: Of the empirical-Bayes prior: how many factors, and which noises (of log latency) and scales of the prior are tried.
FACTORS = 8
NOISES = np.geomspace(0.01, 0.3, 8)
SCALES = np.geomspace(0.3, 3, 5)
#: Standard deviation of a device's log latency around that of the training devices: nothing is known.
OFFSET = 10.0
#: Quantile of the normal distribution that leaves 5 %.
NORMAL = 1.6448536269514722


class Macs(Method):
    """MACs; the samples give one factor (the median ratio), so that the order needs none. Without samples: 1 ms for 10^6."""

    min_samples = 0

    def learn(self, scenario: Scenario) -> None:
        self._macs = scenario.space.macs(scenario.codes, scenario.phase) / 1e6

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        self._factor = float(np.median(measured_ms / self._macs[rows])) if len(rows) else 1.0

    def predict(self, rows: Rows) -> Guess:
        return Guess(self._factor * self._macs[rows])


class Ridge(Method):
    """Ridge regression of log latency on some features of the architecture."""

    min_samples = 2

    def learn(self, scenario: Scenario) -> None:
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
    """A device is a few factors of the training devices' log latencies, those of the queries included.

    The prior of the factors' weights is normal, with the mean and the variances that they have over the training
    devices; its scale and the noise are those of the largest evidence of the samples (empirical Bayes).
    """

    looks_up_queries = True

    def learn(self, scenario: Scenario) -> None:
        logs = _log_devices(scenario, "low_rank")
        left, strength, right = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
        kept = min(FACTORS, len(strength))
        scale = strength[:kept] / np.sqrt(len(logs))
        weights = right[:kept].T * scale  # of each training device, shape (devices, factors)
        self._factors = left[:, :kept] * np.sqrt(len(logs))
        self._mean = weights.mean(axis=0)
        self._variances = weights.var(axis=0) + 1e-6
        self._level = float(logs.mean())

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        factors = self._factors[rows]
        residual = np.log(measured_ms) - self._level - factors @ self._mean
        tried = [self._posterior(factors, residual, scale, noise) for scale in SCALES for noise in NOISES]
        _, self._solved, self._inverse, self._prior, self._noise = max(tried, key=lambda one: one[0])
        self._rows = factors

    def _posterior(
        self, factors: NDArray[np.float64], residual: Column, scale: float, noise: float
    ) -> tuple[float, Column, NDArray[np.float64], Column, float]:
        """Log evidence, and what a prediction needs."""
        prior = scale**2 * self._variances
        covariance = (factors * prior) @ factors.T + OFFSET**2 + noise**2 * np.eye(len(factors))
        inverse = np.linalg.inv(covariance)
        solved = inverse @ residual
        evidence = -0.5 * float(residual @ solved + np.linalg.slogdet(covariance)[1])
        return evidence, solved, inverse, prior, noise

    def predict(self, rows: Rows) -> Guess:
        factors = self._factors[rows]
        cross = (factors * self._prior) @ self._rows.T + OFFSET**2
        mean = self._level + factors @ self._mean + cross @ self._solved
        before = np.sum(factors**2 * self._prior, axis=1) + OFFSET**2 + self._noise**2
        variance = np.maximum(before - np.sum(cross @ self._inverse * cross, axis=1), self._noise**2)
        width = NORMAL * np.sqrt(variance)
        return Guess(np.exp(mean), np.exp(mean - width), np.exp(mean + width))


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
    known = [*names(), *BASELINES]
    if name not in known:
        raise ValueError(f"there is no method {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return Predictor(get(name))
