"""Non-negative least squares of relative errors, and the interval that goes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import stdtrit

#: No interval is narrower than this on either side, relative to the prediction: timers repeat no better.
SMALLEST_RELATIVE_ERROR = 0.005

#: A left-out measurement that is more than this many times its prediction counts as that many times: the prediction
#: is 0 when all fitted weights belong to costs that the architecture does not have.
LARGEST_FACTOR = 10


def weights(costs: NDArray[np.float64], measured_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative weights in ms per unit of each column of `costs`, shape (f,).

    `costs` is of shape (n, f), `measured_ms` of shape (n,) and above 0.
    """
    rows = costs / measured_ms[:, None]
    scale = np.linalg.norm(rows, axis=0)
    scale[scale == 0] = 1
    solution, _ = nnls(rows / scale, np.ones(len(rows)))
    return np.asarray(solution / scale, dtype=np.float64)


def relative_error(costs: NDArray[np.float64], measured_ms: NDArray[np.float64]) -> float:
    """Half width of the 90 % interval relative to the prediction, from leaving out one measurement after the other."""
    n = len(measured_ms)
    residuals = []
    for left_out in range(n):
        kept = np.arange(n) != left_out
        predicted_ms = costs[left_out] @ weights(costs[kept], measured_ms[kept])
        residuals.append(np.log(measured_ms[left_out] / max(predicted_ms, measured_ms[left_out] / LARGEST_FACTOR)))
    half_width = stdtrit(n - 1, 0.95) * float(np.sqrt(np.mean(np.square(residuals))))
    return max(float(np.expm1(half_width)), SMALLEST_RELATIVE_ERROR)
