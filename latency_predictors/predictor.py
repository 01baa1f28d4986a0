"""What every latency predictor does: calibrate to a device, predict with an interval, save."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latency_predictors.files import write_json
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import Workload

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

FORMAT_VERSION = 1

#: Measures workloads on a device (batch 1): their latencies in ms, shape (n,).
Timer = Callable[[Sequence[Workload]], NDArray[np.float64]]


@dataclass(frozen=True)
class Prediction:
    """Latencies of n architectures.

    Attributes:
        mean_ms: expected latency in milliseconds, shape (n,).
        low_ms: lower end of the interval that holds a new measurement with probability 90 %, shape (n,).
        high_ms: its upper end, shape (n,).
    """

    mean_ms: NDArray[np.float64]
    low_ms: NDArray[np.float64]
    high_ms: NDArray[np.float64]

    def upper_ms(self, confidence: float) -> NDArray[np.float64]:
        """What a new measurement stays below with probability `confidence`, shape (n,); `high_ms` at 0.95.

        The interval is stretched as that of a Student-t of log latency with as many degrees of freedom as the noise
        of measurements has (`student_t.FREEDOM`).

        Raises:
            ValueError: when `confidence` is not at least 0.5 and less than 1.
        """
        from scipy.special import stdtrit

        from latency_predictors.student_t import FREEDOM

        if not 0.5 <= confidence < 1:
            raise ValueError(f"the confidence of a bound is at least 0.5 and less than 1, not {confidence}")
        stretch = stdtrit(FREEDOM, confidence) / stdtrit(FREEDOM, 0.95)
        upper_ms: NDArray[np.float64] = self.high_ms * (self.high_ms / self.mean_ms) ** (stretch - 1)
        return upper_ms


class LatencyPredictor(ABC):
    """Predicts the latency of the architectures of one space on one device.

    A predictor is made for a space and a phase and knows no device. `calibrate` fits it to about ten measurements of
    a device; from then on `predict` scores any number of architectures at once. `save` keeps what was fitted, and
    `latency_predictors.load` brings it back.

    A new predictor is a subclass with a `name` and the four methods that start with an underscore; its state is
    made of JSON values.

    Args:
        space: whose architectures are predicted.
        phase: one of `space.phases`.
        bank: measurements of other devices, for predictors that learn from them.

    Raises:
        ValueError: when the space has no such phase.
    """

    name: ClassVar[str]
    min_samples: ClassVar[int] = 2

    def __init__(self, space: SearchSpace, phase: str = "inference", bank: LatencyBank | None = None) -> None:
        space.feature_names(phase)  # raises when there is no such phase
        self.space, self.phase, self.bank = space, phase, bank
        self._calibrated = False

    def measure_parts(self, time: Timer) -> None:  # noqa: B027  most predictors need none
        """Measure what the predictor needs of a device beside whole networks; called before `calibrate`.

        Args:
            time: measures workloads on the device.
        """

    def blank(self) -> LatencyPredictor:
        """Another one for the same space and device that is not calibrated, for another quantity of the device."""
        return type(self)(self.space, self.phase, self.bank)

    def with_bank(self, bank: LatencyBank | None) -> LatencyPredictor:
        """Another one for the same space and device that is not calibrated, and learns from `bank`."""
        return type(self)(self.space, self.phase, bank)

    def calibrate(self, codes: Codes, measured_ms: ArrayLike) -> None:
        """Fit to measurements of one device, forgetting earlier ones.

        Args:
            codes: the measured architectures, shape (n, number of choices).
            measured_ms: their latencies in milliseconds, shape (n,).

        Raises:
            ValueError: when the shapes are wrong, a latency is not positive and finite, or there are too few.
        """
        codes = self.space.canonical(codes)
        measured = np.asarray(measured_ms, dtype=np.float64)
        if measured.shape != (len(codes),):
            raise ValueError(f"{len(codes)} architectures need {len(codes)} latencies, got shape {measured.shape}")
        if not (np.isfinite(measured).all() and (measured > 0).all()):
            raise ValueError("a measured latency is not a positive finite number of milliseconds")
        if len(codes) < self.min_samples:
            raise ValueError(f"predictor {self.name!r} needs {self.min_samples} measurements or more, got {len(codes)}")
        self._fit(codes, measured)
        self._calibrated = True

    def predict(self, codes: Codes) -> Prediction:
        """Latencies of the architectures `codes`, shape (n, number of choices).

        Raises:
            RuntimeError: before `calibrate`.
            ValueError: when `codes` do not fit the space.
        """
        self._require_calibration()
        return self._predict(self.space.canonical(codes))

    def document(self) -> dict[str, Any]:
        """All of the predictor as JSON values; what `save` writes.

        Raises:
            RuntimeError: before `calibrate`.
        """
        self._require_calibration()
        return {
            "version": FORMAT_VERSION,
            "predictor": self.name,
            "space": {
                "name": self.space.name,
                "options": dict(self.space.options),
                "fingerprint": self.space.fingerprint,
            },
            "phase": self.phase,
            "state": self._state(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one JSON file that `latency_predictors.load` reads.

        Raises:
            RuntimeError: before `calibrate`.
            OSError: when the file cannot be written.
        """
        write_json(path, self.document())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a saved predictor of the same class, space and phase.

        Raises:
            ValueError: when the state is not one of this predictor.
        """
        try:
            self._restore(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the saved state is not one of predictor {self.name!r}: {error!r}") from error
        self._calibrated = True

    def _require_calibration(self) -> None:
        if not self._calibrated:
            raise RuntimeError(f"predictor {self.name!r} knows no device yet: call calibrate with measurements first")

    @abstractmethod
    def _fit(self, codes: Codes, measured_ms: NDArray[np.float64]) -> None:
        """Fit to valid measurements; `codes` are canonical."""

    @abstractmethod
    def _predict(self, codes: Codes) -> Prediction:
        """Predict canonical `codes`."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What was fitted, as JSON values with units in their names."""

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `_state` gave; a `KeyError`, `TypeError` or `ValueError` refuses it."""
