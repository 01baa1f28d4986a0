"""What is known of a candidate: cheap metrics from workload and latency predictor, expensive ones by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latency_predictors import LatencyPredictor
from nas.errors import UsageError
from search_spaces import SearchSpace
from search_spaces.space import Codes, nearest

Direction = Literal["maximize", "minimize"]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number of a candidate.

    Attributes:
        name: such as `latency_ms.local`.
        direction: which way is better.
        unit: for people; empty for a ratio.
        values: of many candidates at once, shape (n,); `None` for an expensive metric, which is evaluated.
        bound: the value that a limit is compared with, when it is not `values`: the upper end of the interval.
    """

    name: str
    direction: Direction
    unit: str
    values: Callable[[Codes], Values] | None = None
    bound: Callable[[Codes], Values] | None = None

    def bounds(self, codes: Codes) -> Values:
        """What limits are compared with, shape (n,).

        Raises:
            ValueError: when the metric is an expensive one.
        """
        compute = self.bound or self.values
        if compute is None:
            raise ValueError(f"{self.name} is known only after an evaluation")
        return compute(codes)


ACCURACY = Metric("accuracy", "maximize", "")


def bound_name(name: str) -> str:
    """Name under which the upper end of a latency's interval is recorded."""
    return name.replace("latency_ms", "latency_high_ms", 1)


def cheap_metrics(space: SearchSpace, predictors: Mapping[str, LatencyPredictor]) -> list[Metric]:
    """The metrics that cost nothing, with one latency for each calibrated device."""
    metrics = [
        Metric("macs_m", "minimize", "M", lambda codes: space.macs(codes) / 1e6),
        Metric("parameters_m", "minimize", "M", lambda codes: space.parameters(codes) / 1e6),
        Metric("memory_mb", "minimize", "MB", lambda codes: space.memory_bytes(codes) / 1e6),
    ]
    for device, predictor in predictors.items():
        metrics.append(_latency(device, predictor))
    return metrics


def _latency(device: str, predictor: LatencyPredictor) -> Metric:
    return Metric(
        f"latency_ms.{device}",
        "minimize",
        "ms",
        lambda codes: predictor.predict(codes).mean_ms,
        lambda codes: predictor.predict(codes).high_ms,
    )


def find(name: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: naming the nearest known one.
    """
    known = {metric.name: metric for metric in metrics}
    if name not in known:
        raise UsageError(f"there is no metric {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return known[name]


def record(metrics: Sequence[Metric], codes: Codes) -> list[dict[str, float]]:
    """All cheap metrics of the candidates by name, with the upper ends of the intervals."""
    columns: dict[str, Values] = {}
    for metric in metrics:
        if metric.values is not None:
            columns[metric.name] = metric.values(codes)
        if metric.bound is not None:
            columns[bound_name(metric.name)] = metric.bound(codes)
    return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(codes))]
