"""Whether an exported network is as fast as predicted, on a machine whose speed drifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latency_predictors import Measurement
from nas.export.check import Check
from nas.search.limits import Limit

#: What the graphs of the calibration and an exported graph may differ in latency, beyond the interval.
LATENCY_TOLERANCE = 0.1


@dataclass(frozen=True)
class Timing:
    """A network and reference networks of the calibration, measured in turns.

    Attributes:
        measurement: of the network.
        others: of the references, in the order of the prediction's.
        predicted: `mean_ms`, `low_ms`, `high_ms` and `references` of the bundle; nothing on a device that is not known.
    """

    measurement: Measurement
    others: Sequence[Measurement]
    predicted: Mapping[str, Any]

    @property
    def drift(self) -> float:
        """How many times as long the references take now as when they were measured for the calibration (median)."""
        pairs = zip(self.others, self.predicted["references"], strict=True)
        return float(np.median([now.latency_ms / then["latency_ms"] for now, then in pairs]))

    def within(self) -> bool:
        """Whether the network takes what the prediction and the drift together say; true where nothing was predicted."""
        if not self.predicted:
            return True
        low, high = (self.drift * self.predicted[end] for end in ("low_ms", "high_ms"))
        return bool(low * (1 - LATENCY_TOLERANCE) <= self.measurement.latency_ms <= high * (1 + LATENCY_TOLERANCE))

    def undisturbed(self, limits: Sequence[Limit]) -> bool:
        """Whether the latency is as predicted, and misses none of `limits` that it would keep at the speed of the calibration."""
        return self.within() and not (self.predicted and any(map(self._missed_by_drift, limits)))

    def _missed_by_drift(self, limit: Limit) -> bool:
        found = self.measurement.latency_ms
        return limit.violation(found) > 0 >= limit.violation(found / self.drift)

    def check(self, name: str, sessions: int) -> Check:
        """For the table of `nas verify`; `sessions` says how often all was measured."""
        mean, low, high = (self.drift * self.predicted[part] for part in ("mean_ms", "low_ms", "high_ms"))
        return Check(
            name,
            self.within(),
            f"{mean:.4g} ms ({low:.4g} to {high:.4g}; the machine runs {_speed(self.drift)})",
            f"{self.measurement.latency_ms:.4g} ms" + (f", measured {sessions} times" if sessions > 1 else ""),
        )


def _speed(drift: float) -> str:
    """How fast the machine is now against its calibration."""
    if abs(drift - 1) < 0.005:
        return "as fast as when it was calibrated"
    return f"{abs(drift - 1):.0%} {'slower' if drift > 1 else 'faster'} than when it was calibrated"
