"""What the evaluation of a network gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Finding(Protocol):
    """The outcome of an evaluation."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What was evaluated, by the names of the metrics."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """JSON values for the trial."""


@dataclass(frozen=True)
class Figures:
    """Metrics that were evaluated together.

    Attributes:
        metrics: by their names.
        attributes: JSON values for the trial.
    """

    metrics: Mapping[str, float]
    attributes: Mapping[str, Any] = field(default_factory=dict)
