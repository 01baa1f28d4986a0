"""Ways to search one supernet for networks for a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Method:
    """A sampler, and what it is told of latency.

    Attributes:
        name: for files.
        title: for people.
        sampler: as `search.sampler` of a configuration.
        predictor: as `calibration.predictor`.
        cost: metric that is minimised in place of the latency on the device; there is one study for all devices then.
    """

    name: str
    title: str
    sampler: Mapping[str, Any] = field(default_factory=lambda: {"name": "screened"})
    predictor: str = "auto"
    cost: str | None = None


OWN = Method("nasmyth", "Nasmyth")

#: Their evolution is aged; it needs a population that is small against the evaluations that are spent here.
_EVOLUTION = {"name": "regularized_evolution", "options": {"population": 20, "tournament": 5}}

#: What else can be done with the same supernet, for as many evaluations.
BASELINES: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method("random", "random search", {"name": "random"}),
            Method("once-for-all", "evolution with a block latency table", _EVOLUTION, "lookup_table"),
            Method("macs", "MACs in place of latency", cost="macs_m"),
        )
    }
)
METHODS: Mapping[str, Method] = MappingProxyType({OWN.name: OWN, **BASELINES})
