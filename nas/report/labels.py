"""How metrics, numbers and architectures read in a report. Plain text: whoever writes HTML escapes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from nas.report.data import Objective
from search_spaces import Architecture, SearchSpace

_UNITS = {"_ms": "ms", "_mb": "MB", "_mj": "mJ", "_m": "M"}
#: Ends of the names of metrics that are shares of 1, and shown in %.
_SHARES = ("accuracy", "recall")
_WORDS = {"macs": "MACs", "load": "load time", "first": "first inference"}


@dataclass(frozen=True)
class Metric:
    """A metric as people read it.

    Attributes:
        name: as in the record.
        text: in words, such as `Latency (local)`.
        unit: of the shown value.
        factor: from the recorded to the shown value: 100 for shares such as accuracies.
    """

    name: str
    text: str
    unit: str
    factor: float

    @property
    def title(self) -> str:
        """Words and unit, for an axis or the head of a column."""
        return f"{self.text}, {self.unit}" if self.unit else self.text

    def number(self, value: float) -> str:
        """The value without its unit."""
        return f"{value * self.factor:.2f}" if self.unit == "%" else number(value * self.factor)

    def show(self, value: float) -> str:
        """The value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()


def metric(name: str, unit: str = "") -> Metric:
    """The metric of that name; the unit is read from the name unless it is given."""
    base, _, device = name.partition(".")
    suffix = next((suffix for suffix in _UNITS if base.endswith(suffix)), "")
    words = " ".join(_WORDS.get(word, word) for word in base.removesuffix(suffix).split("_"))
    text = words[:1].upper() + words[1:] + (f" ({device})" if device else "")
    if base.endswith(_SHARES):
        return Metric(name, text, "%", 100.0)
    return Metric(name, text, unit or _UNITS.get(suffix, ""), 1.0)


def objective_metric(objective: Objective) -> Metric:
    """The metric of an objective."""
    return metric(objective.name, objective.unit)


def number(value: float) -> str:
    """Three significant digits, without an exponent where people would not write one."""
    if not isfinite(value) or value == 0:
        return f"{value:g}"
    magnitude = floor(log10(abs(value)))
    if not -5 < magnitude < 12:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - magnitude)}f}"


def count(value: float) -> str:
    """A large number with three digits and `k`, `M`, `G` or `T`."""
    for limit, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return number(value / limit) + suffix
    return f"{value:g}"


def percent(share: float) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * share:.1f} %"


def interval(metrics: Mapping[str, float], name: str) -> tuple[float, float] | None:
    """The interval recorded beside a latency, or `None`."""
    low, high = (metrics.get(name.replace("_ms", f"_{end}_ms", 1)) for end in ("low", "high"))
    return None if "_ms" not in name or low is None or high is None else (low, high)


def compact(space: SearchSpace, architectures: Sequence[Architecture]) -> list[tuple[str, ...]]:
    """For each architecture one line per stage with the choices that have an effect.

    Choices of the same first word share a line: `stage1: width 24, depth 1, block1_kind fused`.
    """
    active = space.active(space.codes(architectures))
    return [
        _lines([(name, value) for (name, value), on in zip(architecture.items, row, strict=True) if on])
        for architecture, row in zip(space.architectures(space.codes(architectures)), active.tolist(), strict=True)
    ]


def _lines(items: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    groups: dict[str, list[str]] = {}
    for name, value in items:
        stage, _, rest = name.partition("_")
        groups.setdefault(stage, []).append(f"{rest} {value}".strip())
    return tuple(f"{stage}: {', '.join(parts)}" for stage, parts in groups.items())
