"""`python -m experiments.fronts RUN`: the fronts of a run on each of its devices, measured on all of them.

For each device the networks of the run are taken that no other one beats in accuracy and latency there. A few of them, evenly
spread, are measured on every device, all in turn; and for every choice it is counted how often each option is on the front,
against how often the search evaluated it within the same limits.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_predictors import Device, complete, measure
from nas.export.onnx_model import to_onnx
from nas.pipeline import existing_stages
from nas.search.pareto import nondominated
from nas.search.worker import Evaluation
from nas.stages import Stages
from search_spaces import Architecture


def front(evaluations: Sequence[Evaluation], device: str) -> list[Evaluation]:
    """Those on the front of accuracy and latency on `device`, by rising latency."""
    values = np.array([[e.metrics[f"latency_ms.{device}"], -e.metrics["accuracy"]] for e in evaluations])
    kept = [e for e, on in zip(evaluations, nondominated(values), strict=True) if on]
    return sorted(kept, key=lambda e: e.metrics[f"latency_ms.{device}"])


def spread(members: Sequence[Evaluation], n: int) -> list[Evaluation]:
    """At most `n` of them, from the first to the last."""
    places = np.unique(np.linspace(0, len(members) - 1, min(n, len(members))).round().astype(int))
    return [members[place] for place in places]


def shares(stages: Stages, evaluations: Sequence[Evaluation], suffix: str) -> dict[str, float]:
    """How often each option of the choices whose names end with `suffix` is in effect, as a share."""
    codes = stages.space.codes([e.architecture for e in evaluations])
    active = stages.space.active(codes)
    counts: Counter[str] = Counter()
    for column, choice in enumerate(stages.space.choices):
        if choice.name.endswith(suffix):
            counts.update(str(choice.options[code]) for code in codes[active[:, column], column])
    return {option: count / counts.total() for option, count in counts.most_common()}


def measured(stages: Stages, networks: Sequence[Evaluation]) -> dict[str, list[float]]:
    """Milliseconds of the export of each network on each device of the run, the fastest run of each."""
    models = [exported(stages, e.architecture) for e in networks]
    return {
        name: [m.latency_ms for m in complete(measure(Device.load(name), models))] for name in stages.config.devices
    }


def exported(stages: Stages, architecture: Architecture) -> bytes:
    """The ONNX model of a network; statistics of batch normalisation do not change how long it takes."""
    network = stages.supernet.extract(architecture).eval()
    return to_onnx(network, stages.supernet.example_inputs(architecture))


def table(stages: Stages, device: str, members: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One row for each network."""
    latencies = measured(stages, members)
    codes = stages.space.codes([e.architecture for e in members])
    macs = stages.space.macs(codes) / 1e6
    return [
        {
            "network": e.number,
            "macs_m": round(float(m), 2),
            "accuracy": round(e.metrics["accuracy"], 4),
            "predicted_ms": round(e.metrics[f"latency_ms.{device}"], 4),
            **{f"measured_ms.{name}": round(found[row], 4) for name, found in latencies.items()},
        }
        for row, (e, m) in enumerate(zip(members, macs, strict=True))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--networks", type=int, default=6, help="of each front that are measured")
    parser.add_argument("--choices", nargs="*", default=["_kind"], help="endings of names of choices that are counted")
    arguments = parser.parse_args()
    stages = existing_stages(arguments.run)
    evaluations = stages.evaluations()
    result: dict[str, Any] = {"evaluated": {c: shares(stages, evaluations, c) for c in arguments.choices}}
    for device in stages.config.devices:
        members = front(evaluations, device)
        result[device] = {
            "front": len(members),
            "networks": table(stages, device, spread(members, arguments.networks)),
            **{choice: shares(stages, members, choice) for choice in arguments.choices},
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
