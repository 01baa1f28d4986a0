"""One quantity of one device: its measurements, the predictor fitted to them, and how well it does on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors import metrics
from latency_predictors.devices import quantities
from latency_predictors.devices.quantities import Quantity, Reading
from latency_predictors.predictor import LatencyPredictor
from latency_predictors.registry import from_document
from search_spaces import SearchSpace
from search_spaces.space import Codes


@dataclass(frozen=True, eq=False)
class Fit:
    """A predictor fitted to a quantity.

    Attributes:
        quantity: what is predicted.
        predictor: of latencies by its names; what it takes and gives here is in the unit of `quantity`.
        reference: the measurements that the predictor was fitted to.
        holdout: those of other networks.
        errors: of the predictor on the holdout, see `metrics.errors`.
        macs_spearman: rank correlation of MACs with the same measurements: what no calibration gives.
    """

    quantity: Quantity
    predictor: LatencyPredictor
    reference: tuple[Reading, ...]
    holdout: tuple[Reading, ...]
    errors: Mapping[str, float]
    macs_spearman: float

    @classmethod
    def of(
        cls,
        quantity: Quantity,
        predictor: LatencyPredictor,
        reference_codes: Codes,
        reference: Sequence[Reading],
        holdout_codes: Codes,
        holdout: Sequence[Reading],
    ) -> Fit:
        """Fit `predictor` to the reference measurements, and test it on the holdout.

        Raises:
            ValueError: when a measurement is not positive and finite, or there are too few.
        """
        predictor.calibrate(reference_codes, values(reference))
        measured = values(holdout)
        macs = predictor.space.macs(holdout_codes, predictor.phase)
        return cls(
            quantity,
            predictor,
            tuple(reference),
            tuple(holdout),
            metrics.errors(predictor.predict(holdout_codes), measured),
            metrics.spearman(macs, measured),
        )

    def document(self) -> dict[str, Any]:
        """As JSON values, without the architectures."""
        return {
            "unit": self.quantity.unit,
            "meaning": self.quantity.meaning,
            "errors": dict(self.errors),
            "macs_spearman": self.macs_spearman,
            "predictor": self.predictor.document(),
            "reference": [asdict(reading) for reading in self.reference],
            "holdout": [asdict(reading) for reading in self.holdout],
        }

    @classmethod
    def from_document(cls, name: str, data: Mapping[str, Any], space: SearchSpace) -> Fit:
        """Inverse of `document`.

        Raises:
            ValueError: when the quantity is unknown, or the predictor is of another space.
            KeyError: when something is missing.
        """
        return cls(
            quantities.get(name),
            from_document(data["predictor"], space),
            _readings(data["reference"]),
            _readings(data["holdout"]),
            data["errors"],
            data["macs_spearman"],
        )


def values(readings: Sequence[Reading]) -> NDArray[np.float64]:
    """The values alone, shape (n,)."""
    return np.array([reading.value for reading in readings])


def _readings(rows: Sequence[Mapping[str, Any]]) -> tuple[Reading, ...]:
    return tuple(map(Reading.from_document, rows))
