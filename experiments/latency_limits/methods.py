"""What keeps a search below a latency limit: a predictor, and which of its numbers the limit is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter, methodcaller

import numpy as np
from numpy.typing import NDArray

from latency_predictors import LatencyBank, LatencyPredictor, MatrixBank, Prediction, get
from latency_predictors.measurements import Measurements
from search_spaces import SearchSpace
from search_spaces.space import Codes

PHASE = "inference"

#: What a limit is compared with: what one measurement in a hundred exceeds, the upper end of the 90 % interval (which
#: one in twenty exceeds), or the expected latency.
CONSTRAINTS: Mapping[str, Callable[[Prediction], NDArray[np.float64]]] = {
    "99 % bound": methodcaller("upper_ms", 0.99),
    "95 % bound": attrgetter("high_ms"),
    "mean": attrgetter("mean_ms"),
}


@dataclass(frozen=True)
class Method:
    """A predictor.

    Attributes:
        predictor: a name that `latency_predictors.get` knows.
        bank: whether it learns from the measurements of the other devices.
    """

    predictor: str
    bank: bool = False

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.predictor} with bank" if self.bank else self.predictor

    def fitted(
        self, space: SearchSpace, others: LatencyBank, codes: Codes, measured_ms: NDArray[np.float64]
    ) -> LatencyPredictor:
        """Calibrated to measurements of one device; `others` are those of the other devices."""
        predictor = get(self.predictor)(space, PHASE, bank=others if self.bank else None)
        predictor.calibrate(codes, measured_ms)
        return predictor


METHODS = (Method("gaussian_process"), Method("gaussian_process", bank=True), Method("nonnegative"))


def without(bank: Measurements, device: str, space: SearchSpace) -> MatrixBank:
    """What `bank` knows of all devices that do not have the name `device`."""
    everything = bank.latencies(space, phase=PHASE)
    others = [name for name in everything.devices if name.partition("@")[0] != device]
    return MatrixBank(space, {PHASE: bank.latencies(space, others, PHASE)})


def draw_limits(
    predicted_ms: NDArray[np.float64], n: int, rng: np.random.Generator, ends: tuple[float, float] = (0.05, 0.95)
) -> NDArray[np.float64]:
    """`n` limits, log-uniform between two quantiles of the latencies of random networks."""
    low, high = np.log(np.quantile(predicted_ms, ends))
    limits_ms: NDArray[np.float64] = np.exp(rng.uniform(low, high, n))
    return limits_ms
