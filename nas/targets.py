"""Which devices and phases of the networks a run measures, and what of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from latency_predictors.devices.quantities import LATENCY
from nas.config import RunConfig
from nas.search.limits import limited_metrics
from nas.search.metrics import measured_quantities
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Target:
    """What one calibration is of.

    Attributes:
        device: its name.
        phase: of the networks, one of `SearchSpace.phases`.
    """

    device: str
    phase: str

    def title(self, space: SearchSpace) -> str:
        """For people: the phase is named where there are several."""
        return self.device if len(space.phases) == 1 else f"{self.device}, {self.phase}"


def named_metrics(config: RunConfig) -> list[str]:
    """Names of the metrics that objectives, limits and the export name, known or not.

    Raises:
        UsageError: when a limit cannot be read.
    """
    search, export = config.search, config.export
    wishes = [name for name in (export.maximize, export.minimize) if name]
    return [*search.objectives, *limited_metrics([*search.limits, *export.where]), *wishes]


def wanted_targets(config: RunConfig, space: SearchSpace, evaluated: Iterable[str]) -> dict[Target, list[str]]:
    """What a run must calibrate, with the quantities beside latency that it must measure there.

    Every device is calibrated for the phases whose latency objectives, limits and the export name, whichever device they
    name them of, and for those of which something else is wanted there; where a space has one phase only, for that one.

    Args:
        config: of the run.
        space: of the run.
        evaluated: names of the metrics that are known by evaluation.

    Raises:
        UsageError: when a metric is unknown or a limit cannot be read.
    """
    wanted = measured_quantities(named_metrics(config), config.devices, space, evaluated)
    timed = {phase for (_, phase), quantities in wanted.items() if LATENCY.name in quantities}
    found: dict[Target, list[str]] = {}
    for device in config.devices:
        for phase in space.phases:
            beside = [name for name in wanted.get((device, phase), []) if name != LATENCY.name]
            if len(space.phases) == 1 or phase in timed or beside:
                found[Target(device, phase)] = beside
    return found
