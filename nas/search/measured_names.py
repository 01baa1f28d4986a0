"""Names of what is measured of networks on a device, in each of their phases."""

from __future__ import annotations

from dataclasses import dataclass

from latency_predictors.devices import quantities
from latency_predictors.devices.quantities import LATENCY, Quantity
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Measured:
    """What a name stands for.

    Attributes:
        phase: of the networks, one of `SearchSpace.phases`.
        quantity: that is measured in it.
    """

    phase: str
    quantity: Quantity


def phase_name(space: SearchSpace, phase: str, name: str) -> str:
    """The name of a figure in a phase: as it is where there is no other phase, else such as `decode_2048_memory_mb`."""
    return name if len(space.phases) == 1 else f"{phase}_{name}"


def measured_name(space: SearchSpace, phase: str, quantity: str = LATENCY.name) -> str:
    """Name of a quantity in a phase, such as `decode_2048_peak_memory_mb`; of a latency its unit is enough:
    `decode_2048_ms`."""
    short = LATENCY.unit if quantity == LATENCY.name and len(space.phases) > 1 else quantity
    return phase_name(space, phase, short)


def measured_names(space: SearchSpace) -> dict[str, Measured]:
    """All that can be measured of networks of a space by name, latencies first."""
    return {
        measured_name(space, phase, quantity): Measured(phase, quantities.get(quantity))
        for quantity in quantities.names()
        for phase in space.phases
    }
