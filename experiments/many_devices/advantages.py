"""Tables of what is more accurate at equal latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.many_devices.comparing import advantage, points, specialisation, spread, table
from experiments.many_devices.evidence import Evidence
from experiments.many_devices.methods import BASELINES, OWN


def matrix(found: Evidence) -> str:
    """Does specialisation pay? A row for each device whose choice is taken elsewhere."""
    seeds = []
    for seed in found.seeds(OWN.name):
        chosen = {d: [row["key"] for row in found.of(OWN.name, seed, d)] for d in found.devices}
        seeds.append(specialisation(chosen, found.ms, found.accuracy))
    if not seeds:
        return "-"
    every = np.array(seeds)
    others = ~np.eye(len(found.devices), dtype=bool)
    rows = [
        [f"chosen for {a}", *("" if a == b else spread(every[:, i, j]) for j, b in enumerate(found.devices))]
        for i, a in enumerate(found.devices)
    ]
    with np.errstate(invalid="ignore"):
        mean = [spread([_mean(one[others[:, j], j]) for one in every]) for j in range(len(found.devices))]
    return table(["", *(f"on {device}" for device in found.devices)], [*rows, ["mean of the others", *mean]])


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def alternatives(found: Evidence) -> str:
    """Other searches of the same supernet, seed by seed; then networks trained alone, against all seeds."""
    own = {(seed, d): found.points(OWN.name, seed, d) for seed in found.seeds(OWN.name) for d in found.devices}
    rows = [
        [
            method.title,
            *(
                spread(
                    [
                        advantage(own[seed, d], found.points(name, seed, d))
                        for seed in found.seeds(name)
                        if (seed, d) in own
                    ]
                )
                for d in found.devices
            ),
        ]
        for name, method in BASELINES.items()
    ]
    for key in (key for keys in found.alone().values() for key in keys):
        there = {d: points([key], found.ms[d], found.accuracy) for d in found.devices}
        rows.append(
            [
                f"{key}, alone",
                *(spread([advantage(own[s, d], there[d]) for s in found.seeds(OWN.name)]) for d in found.devices),
            ]
        )
    return table(["against", *found.devices], rows)


def alone(found: Evidence) -> str:
    """What training alone gave, and how fast it is."""
    plans = {row["key"]: row["epochs"] for row in found.settings.rows.read("plan")}
    rows = [
        [
            key,
            f"{found.networks[key]['macs_m']:.1f}",
            f"{plans[key]:.3g}",
            f"{100 * found.networks[key]['test']:.1f}",
            *(f"{found.ms[d][key]:.3f}" if key in found.ms[d] else "-" for d in found.devices),
        ]
        for keys in found.alone().values()
        for key in keys
    ]
    failures = [f"{key} on {d}: {reason}" for d, failed in found.failures.items() for key, reason in failed.items()]
    text = table(["network", "MMAC", "epochs", "test, %", *(f"ms, {d}" for d in found.devices)], rows)
    return "\n\n".join([text, *failures])
