"""Non-negative least squares on the cost sums: a latency is a sum of costs, none of which gives time back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.least_squares import relative_error, weights
from latency_predictors.predictor import LatencyPredictor, Prediction
from search_spaces.space import Codes


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
        self._weights_ms = weights(costs, measured_ms)
        self._relative_error = relative_error(costs, measured_ms)

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
        names, saved = self.space.feature_names(self.phase), state["ms_per_unit"]
        if list(saved) != list(names):
            raise ValueError(
                f"the predictor was fitted to the features {', '.join(saved)}, the space has {', '.join(names)}: "
                "calibrate anew"
            )
        numbers = np.array([*saved.values(), state["overhead_ms"], state["relative_error"]], dtype=np.float64)
        if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError("a saved weight or error is not a finite number from 0: calibrate anew")
        self._weights_ms, self._relative_error = numbers[:-1], float(numbers[-1])
