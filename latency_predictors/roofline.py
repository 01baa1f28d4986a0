"""The roofline: an operator takes as long as its arithmetic or its memory traffic, whichever is slower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.roofline_costs import GENERIC_DEVICE, PARAMETERS, RooflineCosts
from search_spaces import SearchSpace
from search_spaces.space import Codes

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

#: Standard deviations, before any measurement, of the logarithm of how much slower a device is than the generic one...
SCALE_DEVIATION = 1.5
#: ... of how far each of its figures lies from that...
FIGURE_DEVIATION = 1.0
#: ... and of a measurement around the roofline of its device, with how many measurements that guess counts as.
ERROR, ERROR_SAMPLES = 0.1, 4.0

STEPS, HALVINGS = 60, 10
#: Of the logarithms of the figures.
TOLERANCE = 1e-5


class Roofline(LatencyPredictor):
    """The sum over operators of max(MACs / peak rate of their kind, bytes / bandwidth), plus launches and a call.

    The model is the one of Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
    multicore architectures" (CACM 2009), for each operator, with a peak per kind of MACs. It needs no measurement:
    `calibrate` with none takes the figures of a generic device, which ranks; its intervals then hold devices more
    than ten times slower or faster. Measurements move the logarithms of all figures to where they are most probable,
    given a prior around the generic device in which a common scale is freer than each single figure: one measurement
    fits little more than the scale.

    The 90 % interval is Student's, from the Gaussian approximation around the most probable figures: their covariance
    plus the scatter of measurements around the roofline.
    """

    name = "roofline"
    min_samples = 0

    def __init__(self, space: SearchSpace, phase: str = "inference", bank: LatencyBank | None = None) -> None:
        super().__init__(space, phase, bank)
        self._costs = RooflineCosts(space.slot_workloads(phase))

    def _fit(self, codes: Codes, measured_ms: NDArray[np.float64]) -> None:
        """Gauss-Newton steps, halved until they help, with the scatter found anew at each."""
        precision = np.linalg.inv(_prior_covariance())
        logs, target = np.log(GENERIC_DEVICE), np.log(measured_ms)

        def state(shift: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            parts = self._costs.parts_ms(codes, np.exp(logs + shift))
            total = parts.sum(axis=1)
            return parts / total[:, None], target - np.log(total)

        shift = np.zeros(len(PARAMETERS))
        shares, residual = state(shift)
        for _ in range(STEPS if len(codes) else 0):
            variance = _variance(residual)
            gain = shares.T @ residual / variance - precision @ shift
            step = np.linalg.solve(shares.T @ shares / variance + precision, gain)
            loss = residual @ residual / variance + shift @ precision @ shift
            for _ in range(HALVINGS):
                found = shift + step
                shares_there, residual_there = state(found)
                if residual_there @ residual_there / variance + found @ precision @ found < loss:
                    shift, shares, residual = found, shares_there, residual_there
                    break
                step = step / 2
            else:
                break
            if np.abs(step).max() < TOLERANCE:
                break
        self._figures, self._variance = np.exp(logs + shift), _variance(residual)
        self._covariance = np.linalg.inv(shares.T @ shares / self._variance + precision)
        self._freedom = ERROR_SAMPLES + len(codes)

    def _predict(self, codes: Codes) -> Prediction:
        from scipy.special import stdtrit

        parts = self._costs.parts_ms(codes, self._figures)
        mean_ms = parts.sum(axis=1)
        # A latency is linear in the figure that bounds it, so that shares are the gradient of its logarithm.
        shares = parts / mean_ms[:, None]
        variance = self._variance + ((shares @ self._covariance) * shares).sum(axis=1)
        factor = np.exp(stdtrit(self._freedom, 0.95) * np.sqrt(variance))
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _state(self) -> dict[str, Any]:
        return {
            "ms_per_unit": dict(zip(PARAMETERS, self._figures.tolist(), strict=True)),
            "log_covariance": self._covariance.tolist(),
            "log_variance": self._variance,
            "freedom": self._freedom,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if list(state["ms_per_unit"]) != list(PARAMETERS):
            raise ValueError(
                f"the roofline was fitted with the figures {', '.join(state['ms_per_unit'])}, this release has "
                f"{', '.join(PARAMETERS)}: calibrate anew"
            )
        figures = np.array([*state["ms_per_unit"].values()], dtype=np.float64)
        covariance = np.array(state["log_covariance"], dtype=np.float64)
        numbers = np.array([state["log_variance"], state["freedom"]], dtype=np.float64)
        if not (np.isfinite(figures).all() and np.isfinite(numbers).all() and min(*figures, *numbers) > 0):
            raise ValueError("a saved figure of the roofline is not a finite number above 0: calibrate anew")
        if covariance.shape != (len(figures),) * 2 or not np.isfinite(covariance).all():
            raise ValueError("the saved covariance of the roofline is not a matrix of its figures: calibrate anew")
        if np.linalg.eigvalsh(covariance).min() < 0:
            raise ValueError("the saved covariance of the roofline is not positive: calibrate anew")
        self._figures, self._covariance = figures, covariance
        self._variance, self._freedom = float(numbers[0]), float(numbers[1])


def _prior_covariance() -> NDArray[np.float64]:
    """Of the logarithms of all figures, shape (p, p)."""
    n = len(PARAMETERS)
    return np.asarray(FIGURE_DEVIATION**2 * np.eye(n) + SCALE_DEVIATION**2 * np.ones((n, n)))


def _variance(residual: NDArray[np.float64]) -> float:
    """Of log measurements around the roofline: the guess and the residuals, shape (n,), weighted by their numbers."""
    return float((ERROR_SAMPLES * ERROR**2 + residual @ residual) / (ERROR_SAMPLES + len(residual)))
