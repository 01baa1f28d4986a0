"""`python -m experiments.hybrid_slm.times --networks ...`: measured times of every phase on every device of the run.

All networks are measured in one session of each device, in turns. Rows are appended to a file of JSON lines.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.hybrid_slm.networks import networks
from experiments.rows import RowFile
from latency_predictors import Device, complete, measure
from latency_predictors.devices.timing_graph import timing_graph
from nas.pipeline import existing_stages
from nas.stages import Stages
from search_spaces import Architecture


def times(stages: Stages, architectures: list[Architecture], phase: str, device: str) -> list[float]:
    """Milliseconds of each network, in turns, the fastest run of each."""
    models = [timing_graph(stages.space.workload(architecture, phase)) for architecture in architectures]
    return [measurement.latency_ms for measurement in complete(measure(Device.load(device), models))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/hybrid_slm"))
    parser.add_argument("--networks", nargs="+", required=True, help="such as attention@6 front:3")
    parser.add_argument("--out", type=Path, default=Path("runs/hybrid_slm_times.jsonl"))
    arguments = parser.parse_args()
    stages = existing_stages(arguments.run)
    found = networks(stages, arguments.networks)
    rows: dict[str, dict[str, float]] = {name: {} for name in found}
    for device in stages.config.devices:
        for phase in stages.space.phases:
            measured = times(stages, list(found.values()), phase, device)
            for name, value in zip(found, measured, strict=True):
                rows[name][f"{phase}_ms.{device}"] = round(value, 4)
    for name, row in rows.items():
        RowFile(arguments.out).keep(network=name, **row)
        print(name, row)


if __name__ == "__main__":
    main()
