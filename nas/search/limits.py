"""Limits such as `latency_ms.local <= 5`, in configurations and on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import UsageError
from nas.search.metrics import Metric, bound_name, find
from search_spaces import SearchSpace
from search_spaces.space import Codes

_LIMIT = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(<=|>=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Limit:
    """A bound on a metric.

    Attributes:
        metric: its name.
        sign: +1 for an upper bound (`<=`), -1 for a lower one (`>=`).
        value: the bound, in the metric's unit.
    """

    metric: str
    sign: int
    value: float

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.sign > 0 else '>='} {self.value:.10g}"

    def violation(self, value: float) -> float:
        """By how much `value` misses the bound; kept when it is not positive."""
        return self.sign * (value - self.value)

    def missed_by(self, metrics: Mapping[str, float]) -> float:
        """`violation` of recorded metrics; of a predicted one its bound counts."""
        value = metrics[self.metric]
        return self.violation(metrics.get(bound_name(self.metric), value) if self.sign > 0 else value)


def parse(text: str, largest: Callable[[str], float] | None = None) -> Limit:
    """Read one limit.

    Args:
        text: such as `latency_ms.local <= 5`, or `latency_ms.local <= 50 %` of what the largest network has.
        largest: maps the name of a metric to the value of the largest network; without it `%` is refused.

    Raises:
        UsageError: when it cannot be read.
    """
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise UsageError(f"a limit reads 'metric <= number' or 'metric >= number', not {text!r}")
    name, operator, number, percent = match.groups()
    try:
        value = float(number)
    except ValueError as error:
        raise UsageError(f"{number!r} in the limit {text!r} is not a number") from error
    if percent:
        if largest is None:
            raise UsageError(f"the limit {text!r} is a share of the largest network; give a number here")
        value = float(f"{value * largest(name) / 100:.4g}")
    return Limit(name, 1 if operator == "<=" else -1, value)


def limited_metrics(texts: Iterable[str]) -> list[str]:
    """Names of the metrics in limits, known or not.

    Raises:
        UsageError: when a limit cannot be read.
    """
    return [parse(part, lambda _: 1.0).metric for part in _parts(texts)]


def _parts(texts: Iterable[str]) -> list[str]:
    return [part for text in texts for part in re.split(r"\s+and\s+", text)]


def parse_all(texts: Iterable[str], metrics: Sequence[Metric], space: SearchSpace) -> list[Limit]:
    """Read limits on known metrics; `and` joins several in one text.

    Raises:
        UsageError: when one cannot be read, its metric is unknown, or a share is asked of an expensive metric.
    """
    codes = space.codes([space.largest()])

    def largest(name: str) -> float:
        metric = find(name, metrics)
        if metric.values is None:
            raise UsageError(f"a limit on {name} is a number, not a share of the largest network")
        return float(metric.values(codes)[0])

    limits = [parse(part, largest) for part in _parts(texts)]
    for limit in limits:
        find(limit.metric, metrics)
    return limits


def cheap_violation(limits: Sequence[Limit], metrics: Sequence[Metric], codes: Codes) -> NDArray[np.float64]:
    """Sum of the relative violations of all limits on cheap metrics, shape (n,); zero when all are kept."""
    total = np.zeros(len(codes))
    for limit in limits:
        metric = find(limit.metric, metrics)
        if metric.values is not None:
            values = metric.bounds(codes) if limit.sign > 0 else metric.values(codes)
            total += np.maximum(0.0, limit.sign * (values - limit.value)) / max(abs(limit.value), 1e-12)
    return total
