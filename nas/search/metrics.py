"""What is known of a candidate: cheap metrics from workload and latency predictor, expensive ones by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latency_predictors import LatencyPredictor
from latency_predictors.devices import quantities
from latency_predictors.devices.quantities import LATENCY, Quantity
from nas.errors import UsageError
from nas.search.measured_names import measured_names, phase_name
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
    """Of the phase that needs most: of a language model a long prompt, or the next token at the longest context."""
    return np.asarray(np.max([_phase_memory_mb(phase, space, codes) for phase in space.phases], axis=0))


def _phase_memory_mb(phase: str, space: SearchSpace, codes: Codes) -> Values:
    """Weights, caches and activations of one phase."""
    return np.asarray(space.memory_bytes(codes, phase)) / 1e6


#: Metrics that the workload alone gives: unit, and values of many candidates. MACs, parameters and size are those of the
#: first phase: of a language model the prompt.
_EXACT: Mapping[str, tuple[str, Callable[[SearchSpace, Codes], Values]]] = {
    "macs_m": ("M", lambda space, codes: space.macs(codes) / 1e6),
    "parameters_m": ("M", lambda space, codes: space.parameters(codes) / 1e6),
    "memory_mb": ("MB", _memory_mb),
    "size_mb": ("MB", _size_mb),
}


def _exact(space: SearchSpace) -> dict[str, tuple[str, Callable[[SearchSpace, Codes], Values]]]:
    """Those of `_EXACT`, and the memory of each phase where there are several."""
    phases = {phase_name(space, phase, "memory_mb"): ("MB", partial(_phase_memory_mb, phase)) for phase in space.phases}
    return {**_EXACT, **phases}


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
        predictors: by the name of the device, then by that of what is measured, see `measured_name`.
        confidence: of the bounds of predicted metrics, see `Prediction.upper_ms`; by default they are the upper ends
            of the intervals.
    """
    known = measured_names(space)
    return [
        *(Metric(name, "minimize", unit, partial(values, space)) for name, (unit, values) in _exact(space).items()),
        *(
            _predicted(name, known[name].quantity, device, predictor, confidence)
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
    space: SearchSpace,
    evaluated: Iterable[str] = (ACCURACY.name,),
) -> dict[tuple[str, str], list[str]]:
    """What must be measured so that the metrics `names` are known.

    Args:
        names: of metrics.
        devices: by their names.
        space: of the networks.
        evaluated: names of the metrics that are known by evaluation.

    Returns:
        The names of the quantities, by device and phase.

    Raises:
        UsageError: when there can be no metric of a name, naming the nearest one.
    """
    measured = {f"{name}.{device}": (device, one) for device in devices for name, one in measured_names(space).items()}
    known = (*evaluated, *_exact(space), *measured)
    found: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in known:
            raise UsageError(f"there is no metric {name!r}{nearest(name, known)}; there are {', '.join(known)}")
        if name in measured:
            device, one = measured[name]
            found.setdefault((device, one.phase), []).append(one.quantity.name)
    return found


def find(name: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: naming the nearest known one.
    """
    known = {metric.name: metric for metric in metrics}
    if name not in known:
        base = name.split(".")[0]
        measurable = base.endswith((*quantities.names(), f"_{LATENCY.unit}"))
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
