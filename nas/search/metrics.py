"""What is known of a candidate: cheap metrics from workload and latency predictor, expensive ones by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latency_predictors import LatencyPredictor
from latency_predictors.devices import quantities
from latency_predictors.devices.quantities import LATENCY, Quantity
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
        bound: the value that a limit is compared with, when it is not `values`: one that a measurement stays
            below with a high probability.
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


#: What the graph of an exported model takes beside its weights: names, shapes and attributes of one operator.
GRAPH_BYTES = 290


def _size_mb(space: SearchSpace, codes: Codes) -> Values:
    """Size of the exported ONNX file, within a few percent."""
    kernels = space.features(codes)[:, space.feature_names().index("kernels")]
    return np.asarray(space.weight_bytes(codes) + GRAPH_BYTES * kernels) / 1e6


def _memory_mb(space: SearchSpace, codes: Codes) -> Values:
    """Of the phase that needs most: of a language model mostly the next token at the longest context, with its caches."""
    return np.asarray(np.max([space.memory_bytes(codes, phase) for phase in space.phases], axis=0)) / 1e6


#: Metrics that the workload alone gives: unit, and values of many candidates. MACs, parameters and size are those of the
#: first phase: of a language model the prompt.
_EXACT: Mapping[str, tuple[str, Callable[[SearchSpace, Codes], Values]]] = {
    "macs_m": ("M", lambda space, codes: space.macs(codes) / 1e6),
    "parameters_m": ("M", lambda space, codes: space.parameters(codes) / 1e6),
    "memory_mb": ("MB", _memory_mb),
    "size_mb": ("MB", _size_mb),
}


def latency_name(space: SearchSpace, phase: str) -> str:
    """Name of the latency of a phase: `latency_ms` where there is no other phase, else such as `prefill_512_ms`."""
    return LATENCY.name if len(space.phases) == 1 else f"{phase}_{LATENCY.unit}"


def latency_names(space: SearchSpace) -> dict[str, str]:
    """The phases of a space by the names of their latencies."""
    return {latency_name(space, phase): phase for phase in space.phases}


def bound_name(name: str) -> str:
    """Name under which the bound of a predicted metric is recorded, such as `latency_high_ms.local`."""
    base, dot, device = name.partition(".")
    words, _, unit = base.rpartition("_")
    return f"{words}_high_{unit}{dot}{device}"


def cheap_metrics(
    space: SearchSpace, predictors: Mapping[str, Mapping[str, LatencyPredictor]], confidence: float = 0.95
) -> list[Metric]:
    """The metrics that cost nothing: those of the workload, and each quantity of each calibrated device.

    Args:
        space: of the candidates.
        predictors: by the name of the device, then by that of the quantity: a latency (see `latency_name`) or one of
            the other `quantities.names`.
        confidence: of the bounds of predicted metrics, see `Prediction.upper_ms`; by default they are the upper ends
            of the intervals.
    """
    latencies = latency_names(space)
    return [
        *(Metric(name, "minimize", unit, partial(values, space)) for name, (unit, values) in _EXACT.items()),
        *(
            _predicted(name, LATENCY if name in latencies else quantities.get(name), device, predictor, confidence)
            for device, fitted in predictors.items()
            for name, predictor in fitted.items()
        ),
    ]


def _predicted(name: str, quantity: Quantity, device: str, predictor: LatencyPredictor, confidence: float) -> Metric:
    return Metric(
        f"{name}.{device}",
        "minimize",
        quantity.unit,
        lambda codes: predictor.predict(codes).mean_ms,
        lambda codes: predictor.predict(codes).upper_ms(confidence),
    )


def measured_quantities(
    names: Iterable[str],
    devices: Sequence[str],
    latencies: Collection[str] = (LATENCY.name,),
    evaluated: Iterable[str] = (ACCURACY.name,),
) -> dict[str, list[str]]:
    """What must be measured, beside latency, on each of `devices` so that the metrics `names` are known.

    Args:
        names: of metrics.
        devices: by their names.
        latencies: names of the latencies that there are, see `latency_names`.
        evaluated: names of the metrics that are known by evaluation.

    Raises:
        UsageError: when there can be no metric of a name, naming the nearest one.
    """
    beside = [name for name in quantities.names() if name != LATENCY.name]
    measured = {f"{name}.{device}": (device, name) for device in devices for name in (*latencies, *beside)}
    known = (*evaluated, *_EXACT, *measured)
    found: dict[str, list[str]] = {device: [] for device in devices}
    for name in dict.fromkeys(names):
        if name not in known:
            raise UsageError(f"there is no metric {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        if name in measured:
            device, quantity = measured[name]
            found[device].append(quantity)
    return {device: [name for name in wanted if name not in latencies] for device, wanted in found.items()}


def find(name: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: naming the nearest known one.
    """
    known = {metric.name: metric for metric in metrics}
    if name not in known:
        base = name.split(".")[0]
        measurable = base in quantities.names() or base.endswith(f"_{LATENCY.unit}")
        advice = f"; {base} was not measured: name it in the configuration of a run" if measurable else ""
        raise UsageError(f"there is no metric {name!r}{nearest(name, known)}; there are {', '.join(known)}{advice}")
    return known[name]


def record(metrics: Sequence[Metric], codes: Codes) -> list[dict[str, float]]:
    """All cheap metrics of the candidates by name, with the bounds of the predicted ones."""
    columns: dict[str, Values] = {}
    for metric in metrics:
        if metric.values is not None:
            columns[metric.name] = metric.values(codes)
        if metric.bound is not None:
            columns[bound_name(metric.name)] = metric.bound(codes)
    return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(codes))]
