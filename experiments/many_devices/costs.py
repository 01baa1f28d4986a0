"""What everything took."""

from __future__ import annotations

import numpy as np

from experiments.many_devices.comparing import table
from experiments.many_devices.evidence import Evidence
from experiments.many_devices.methods import BASELINES, OWN

STAGES = ("calibration", "search", "export", "verification")


def cost_tables(found: Evidence) -> str:
    """Of the first seed, device by device in the order of its chain; then of what it is compared with."""
    rows, first = found.settings.rows, found.settings.seeds[0]
    names = [device.name for device in found.settings.chain(first)]
    seconds = {
        name: [rows.seconds(method=OWN.name, seed=first, device=name, stage=stage) for stage in STAGES]
        for name in names
    }
    later = np.mean([seconds[name] for name in names[1:]] or [[float("nan")] * len(STAGES)], axis=0)
    training = rows.seconds(stage="training")
    lines = [_line(name, values) for name, values in seconds.items()] + [_line("mean after the first", list(later))]
    total = training + sum(map(sum, seconds.values()))
    own = table(["device", *STAGES, "all"], lines)
    return f"Training, once: {training:.0f}. With all devices: {total:.0f}.\n\n{own}\n\n{_others(found)}"


def _others(found: Evidence) -> str:
    rows = found.settings.rows
    taken = {method.title: rows.seconds(method=name) for name, method in BASELINES.items()}
    taken |= {family: rows.seconds(method=family.removesuffix(", alone")) for family in found.alone()}
    measuring = rows.seconds(stage="measuring")
    lines = [[name, f"{seconds:.0f}"] for name, seconds in taken.items() if seconds]
    return table(
        ["what else, all seeds and sizes", "seconds"], [*lines, ["measuring all networks", f"{measuring:.0f}"]]
    )


def _line(name: str, seconds: list[float]) -> list[str]:
    return [name, *(f"{value:.0f}" for value in (*seconds, sum(seconds)))]
