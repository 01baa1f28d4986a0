"""`python -m experiments.hybrid_slm.preferences`: which mixers the networks of a run's fronts are made of.

For every device and phase that was searched: the share of the layers that each kind of mixer has, on the front of bits per
byte and that time, and on the front of recall and that time. Last, of all evaluated networks.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nas.pipeline import existing_stages
from nas.search.pareto import nondominated
from nas.search.worker import Evaluation
from search_spaces import Architecture

#: The metrics of quality, and the sign with which each is to be minimised.
QUALITIES = {"bits_per_byte": 1, "recall": -1}


def on_front(evaluations: list[Evaluation], quality: str, time: str) -> list[Architecture]:
    """The networks that no other one beats in both."""
    values = [[QUALITIES[quality] * one.metrics[quality], one.metrics[time]] for one in evaluations]
    kept = nondominated(np.array(values))
    return [one.architecture for one, keep in zip(evaluations, kept, strict=True) if keep]


def shares(architectures: Iterable[Architecture]) -> Counter[str]:
    """The share of each kind of mixer among all layers that run."""
    counts = Counter(
        str(one.values[f"layer{layer}_mixer"])
        for one in architectures
        for layer in range(1, int(one.values["depth"]) + 1)
    )
    return Counter({kind: count / counts.total() for kind, count in counts.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/hybrid_slm"))
    arguments = parser.parse_args()
    evaluations = existing_stages(arguments.run).evaluations()
    times = [name for name in evaluations[0].metrics if "_ms." in name and "_high_ms." not in name]
    found = {f"{quality}, {time}": on_front(evaluations, quality, time) for quality in QUALITIES for time in times}
    found["all evaluated networks"] = [one.architecture for one in evaluations]
    kinds = [kind for kind, _ in shares(found["all evaluated networks"]).most_common()]
    print("| front of | networks |", " | ".join(kinds), "|")
    print("|---|---|" + "---|" * len(kinds))
    for name, architectures in found.items():
        share = shares(architectures)
        print(f"| {name} | {len(architectures)} |", " | ".join(f"{share[kind]:.2f}" for kind in kinds), "|")


if __name__ == "__main__":
    main()
