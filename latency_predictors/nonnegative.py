"""Non-negative least squares on the cost sums: a latency is a sum of costs, none of which gives time back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import t

from latency_predictors.predictor import LatencyPredictor, Prediction
from search_spaces.space import Codes

#: No interval is narrower than this on either side, relative to the prediction: timers repeat no better.
SMALLEST_RELATIVE_ERROR = 0.005

#: A left-out measurement that is more than this many times its prediction counts as that many times: the prediction
#: is 0 when all fitted weights belong to costs that the architecture does not have.
LARGEST_FACTOR = 10


class NonNegative(LatencyPredictor):
    """Latency as a non-negative weighting of `space.features` plus a constant for the overhead of a call.

    The weights minimise the sum of squared relative errors (Lawson and Hanson, "Solving Least Squares Problems",
    1974, chapter 23), so that small networks count as much as large ones. The 90 % interval is relative and the same
    for all architectures: Student's t times the root mean square of the leave-one-out errors in log latency.
    """

    name = "nonnegative"
    min_samples = 3

    def _fit(self, codes: Codes, measured_ms: NDArray[np.float64]) -> None:
        costs = self._costs(codes)
        self._weights_ms = _weights(costs, measured_ms)
        self._relative_error = _relative_error(costs, measured_ms)

    def _predict(self, codes: Codes) -> Prediction:
        mean_ms = self._costs(codes) @ self._weights_ms
        factor = 1 + self._relative_error
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _costs(self, codes: Codes) -> NDArray[np.float64]:
        """Features and a column of ones, shape (n, f + 1)."""
        features = self.space.features(codes, self.phase)
        return np.concatenate([features, np.ones((len(features), 1))], axis=1)

    def _state(self) -> dict[str, Any]:
        names = self.space.feature_names(self.phase)
        return {
            "ms_per_unit": dict(zip(names, self._weights_ms[:-1].tolist(), strict=True)),
            "overhead_ms": float(self._weights_ms[-1]),
            "relative_error": self._relative_error,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        names, weights = self.space.feature_names(self.phase), state["ms_per_unit"]
        if list(weights) != list(names):
            raise ValueError(
                f"the predictor was fitted to the features {', '.join(weights)}, the space has {', '.join(names)}: "
                "calibrate anew"
            )
        numbers = np.array([*weights.values(), state["overhead_ms"], state["relative_error"]], dtype=np.float64)
        if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError("a saved weight or error is not a finite number from 0: calibrate anew")
        self._weights_ms, self._relative_error = numbers[:-1], float(numbers[-1])


def _weights(costs: NDArray[np.float64], measured_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative weights in ms per unit of each column of `costs`, shape (f,)."""
    rows = costs / measured_ms[:, None]
    scale = np.linalg.norm(rows, axis=0)
    scale[scale == 0] = 1
    solution, _ = nnls(rows / scale, np.ones(len(rows)))
    return np.asarray(solution / scale, dtype=np.float64)


def _relative_error(costs: NDArray[np.float64], measured_ms: NDArray[np.float64]) -> float:
    """Half width of the 90 % interval relative to the prediction, from leaving out one measurement after the other."""
    n = len(measured_ms)
    residuals = []
    for left_out in range(n):
        kept = np.arange(n) != left_out
        predicted_ms = costs[left_out] @ _weights(costs[kept], measured_ms[kept])
        residuals.append(np.log(measured_ms[left_out] / max(predicted_ms, measured_ms[left_out] / LARGEST_FACTOR)))
    half_width = t.ppf(0.95, n - 1) * float(np.sqrt(np.mean(np.square(residuals))))
    return max(float(np.expm1(half_width)), SMALLEST_RELATIVE_ERROR)
