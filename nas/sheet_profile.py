"""What the networks of a space would take on a device of which only the data sheet is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latency_predictors.spec_sheet import SpecSheet
from nas.pipeline import existing_stages
from nas.report.gather import gather
from nas.scaling import load_space
from search_spaces import Architecture, SearchSpace
from search_spaces.workload import BYTES_PER_VALUE


@dataclass(frozen=True)
class PhaseProfile:
    """One phase of a network on a device; all of it counted, nothing measured.

    Attributes:
        network: its name.
        phase: such as `decode_2048`.
        parameters_m: millions of parameters.
        latency_ms: the roofline, the sum of the next three.
        arithmetic_ms: of operators that are bound by arithmetic.
        memory_ms: of those that are bound by memory traffic.
        launches_ms: of starting operators.
        weights_mb: all weights of the exported graph, in which a table that the head shares is held twice, and other
            constants such as masks.
        caches_mb: state that the phase leaves, such as keys and values.
        activations_mb: what else is alive at the peak.
        fits: whether the memory of the device is enough; `None` when the sheet does not say how much there is.
    """

    network: str
    phase: str
    parameters_m: float
    latency_ms: float
    arithmetic_ms: float
    memory_ms: float
    launches_ms: float
    weights_mb: float
    caches_mb: float
    activations_mb: float
    fits: bool | None

    @property
    def total_mb(self) -> float:
        """Peak of the memory in this phase."""
        return self.weights_mb + self.caches_mb + self.activations_mb

    @property
    def bound(self) -> str:
        """What takes most of the time."""
        parts = {"compute": self.arithmetic_ms, "memory": self.memory_ms, "launch": self.launches_ms}
        return max(parts, key=lambda name: parts[name])

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "total_mb": self.total_mb, "bound": self.bound}


def load_networks(source: str, overrides: list[str]) -> tuple[SearchSpace, dict[str, Architecture]]:
    """A space and the networks of it that have a name: the smallest, the published ones, the largest, and a run's front.

    Args:
        source: a configuration, or the directory of a run.
        overrides: of the configuration.

    Raises:
        UsageError: when there is neither.
    """
    space = load_space(source, overrides)
    found = {name: space.architecture(name) for name in space.named}
    networks = {"smallest": space.smallest(), **found, "largest": space.largest()}
    return space, {**networks, **(_front(Path(source)) if Path(source).is_dir() else {})}


def _front(run: Path) -> Mapping[str, Architecture]:
    """The networks of a run's front by their numbers; none before the search."""
    return {f"front {member.number}": member.architecture for member in gather(existing_stages(run)).front}


def profiles(sheet: SpecSheet, space: SearchSpace, networks: Mapping[str, Architecture]) -> list[PhaseProfile]:
    """Each phase of each network on the device.

    Args:
        sheet: the figures of the device.
        space: of the networks.
        networks: by name.
    """
    by_phase = [_phase(sheet, space, networks, phase) for phase in space.phases]
    return [profile for profiles in zip(*by_phase, strict=True) for profile in profiles]


def _phase(
    sheet: SpecSheet, space: SearchSpace, networks: Mapping[str, Architecture], phase: str
) -> list[PhaseProfile]:
    codes = space.codes(list(networks.values()))
    times, parameters = sheet.times(space, codes, phase), space.parameters(codes, phase)
    stored, caches = space.weight_bytes(codes, phase), space.cache_bytes(codes, phase)
    activations = space.memory_bytes(codes, phase) - stored - caches
    weight_mb, value_mb = (bits / 8 / BYTES_PER_VALUE / 1e6 for bits in (sheet.weight_bits, sheet.activation_bits))
    total_mb = stored * weight_mb + (caches + activations) * value_mb
    return [
        PhaseProfile(
            network=name,
            phase=phase,
            parameters_m=float(parameters[row] / 1e6),
            latency_ms=float(times.total_ms[row]),
            arithmetic_ms=float(times.arithmetic_ms[row]),
            memory_ms=float(times.memory_ms[row]),
            launches_ms=float(times.launches_ms[row]),
            weights_mb=float(stored[row] * weight_mb),
            caches_mb=float(caches[row] * value_mb),
            activations_mb=float(activations[row] * value_mb),
            fits=None if sheet.memory_gb is None else bool(total_mb[row] <= sheet.memory_gb * 1e3),
        )
        for row, name in enumerate(networks)
    ]
