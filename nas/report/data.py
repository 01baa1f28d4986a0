"""What a report tells, independent of where it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from latency_predictors.comparison import Comparison
from nas.export.check import Check
from nas.report.pareto import pareto_front
from nas.search.metrics import Direction
from nas.search.worker import Evaluation
from search_spaces import Architecture, SearchSpace

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """What the search optimises.

    Attributes:
        name: of the metric, such as `accuracy` or `latency_ms.local` (after the dot: the device).
        direction: `maximize` or `minimize`.
        unit: shown behind its values; empty for the unit that the name ends with (`_ms`, `_mb`, `_mj`, `_m`).
    """

    name: str
    direction: Direction
    unit: str = ""


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """One quantity of one device, measured and predicted, in the unit that its name ends with.

    Attributes:
        device: its name.
        predictor: name of the predictor.
        reference_measured: of the networks that the predictor was fitted to, shape (r,).
        reference_predicted: of the same networks.
        holdout_measured: of networks that were not used for fitting, shape (h,).
        holdout_predicted: of the same networks.
        holdout_low: lower end of their 90 % intervals.
        holdout_high: upper end.
        errors: on the holdout: `spearman`, `kendall`, `mdape` (%), `coverage90` (0 to 1).
        macs_spearman: rank correlation of MACs alone with the measured values, for comparison.
        quantity: its name, such as `latency_ms`, or `prefill_512_ms` where networks have several phases.
        comparison: of the predictors that were tried, when there were several.
    """

    device: str
    predictor: str
    reference_measured: Floats
    reference_predicted: Floats
    holdout_measured: Floats
    holdout_predicted: Floats
    holdout_low: Floats
    holdout_high: Floats
    errors: Mapping[str, float]
    macs_spearman: float
    quantity: str = "latency_ms"
    comparison: Comparison | None = None


@dataclass(frozen=True)
class TrainingRow:
    """One line of the training record: the losses, by name, after `seconds` of training."""

    step: int
    epoch: float
    seconds: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Chosen:
    """The network that was picked, its metrics (all objectives and all limited ones), and how its export was verified."""

    architecture: Architecture
    metrics: Mapping[str, float]
    verification: tuple[Check, ...] = ()


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Attributes:
        title: of the page.
        facts: pairs of a name and its text: the space, its size, the task, versions.
        objectives: the first one is drawn upwards in every plot of the front.
        limits: largest allowed value, by the name of the metric.
        evaluations: in the order in which they were completed.
        space: of all architectures.
        calibrations: one for each quantity of each device.
        training: empty when no supernet was trained.
        subnets: evaluated metrics after training by the name of a subnet, such as `smallest`.
        chosen: `None` when no network was picked.

    Raises:
        ValueError: when there is no objective, or a network lacks an objective or a limited metric.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    objectives: tuple[Objective, ...]
    limits: Mapping[str, float]
    evaluations: tuple[Evaluation, ...]
    space: SearchSpace
    calibrations: tuple[CalibrationData, ...] = ()
    training: tuple[TrainingRow, ...] = ()
    subnets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    chosen: Chosen | None = None

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("a report needs at least one objective")
        needed = [*(objective.name for objective in self.objectives), *self.limits]
        for evaluation in self.evaluations:
            _require(needed, evaluation.metrics, f"evaluation {evaluation.number}")
        if self.chosen is not None:
            _require(needed, self.chosen.metrics, "the chosen network")

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """Of the objectives."""
        return tuple(objective.direction for objective in self.objectives)

    @cached_property
    def values(self) -> Floats:
        """Objectives of all evaluations, shape (evaluations, objectives)."""
        return self.metric_values(*(objective.name for objective in self.objectives))

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """Which evaluations keep all limits, shape (evaluations,)."""
        return np.array([evaluation.feasible for evaluation in self.evaluations], dtype=bool)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """Which evaluations saw all images, shape (evaluations,)."""
        return np.array([evaluation.complete for evaluation in self.evaluations], dtype=bool)

    @cached_property
    def eligible(self) -> NDArray[np.bool_]:
        """Which evaluations keep all limits and saw all images, shape (evaluations,): these may be on the front."""
        return self.feasible & self.complete

    @cached_property
    def on_front(self) -> NDArray[np.bool_]:
        """Which evaluations are on the Pareto front, shape (evaluations,)."""
        return pareto_front(self.values, self.directions, self.eligible)

    @cached_property
    def front(self) -> tuple[Evaluation, ...]:
        """The members of the Pareto front, the best in the first objective first."""
        name, sign = self.objectives[0].name, -1 if self.directions[0] == "maximize" else 1
        members = [evaluation for evaluation, on in zip(self.evaluations, self.on_front, strict=True) if on]
        return tuple(sorted(members, key=lambda evaluation: (sign * evaluation.metrics[name], evaluation.number)))

    def metric_values(self, *names: str) -> Floats:
        """Values of the named metrics, shape (evaluations, names)."""
        rows = [[evaluation.metrics[name] for name in names] for evaluation in self.evaluations]
        return np.array(rows, dtype=np.float64).reshape(-1, len(names))

    def is_chosen(self, architecture: Architecture) -> bool:
        """Whether this is the picked network."""
        return self.chosen is not None and self.chosen.architecture == architecture


def _require(names: list[str], metrics: Mapping[str, float], owner: str) -> None:
    missing = [name for name in names if name not in metrics]
    if missing:
        raise ValueError(
            f"{owner} has no metric {', '.join(map(repr, missing))}; it has {', '.join(metrics) or 'none'}"
        )
