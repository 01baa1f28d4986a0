"""`python -m experiments.multi_fidelity --data DIR`: what stopping evaluations early saves, and what it costs.

Trains the supernet of experiments/cifar10 for a few epochs. On its validation images, and on the test images in place of
these (they are more), the same searches are made with and without early stopping; then the rule is replayed on the
networks of the complete searches, and on random networks, with other orders of the images. What is evaluated is kept in
`--out`, and not evaluated again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import astuple
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.multi_fidelity.searches import Found, evaluated, search, with_test_images
from experiments.multi_fidelity.simulation import as_if, replay
from nas.config import load
from nas.memory import keep_freed_memory
from nas.progress import Reporter
from nas.runs import Run
from nas.search.evaluation import Evaluator
from nas.search.fidelity import Race
from nas.stages import Stages

CONFIG = Path(__file__).parents[1] / "cifar10" / "config.yaml"
RANDOM = 80


def main() -> None:
    """Train, search and replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--risks", nargs="*", type=float, default=[0.01, 0.5], help="of stopping, in the searches")
    parser.add_argument("--sampler", default="screened")
    parser.add_argument("--images", nargs="*", choices=["validation", "test"], default=["test"])
    parser.add_argument("--orders", type=int, default=5, help="of the images, in the replays")
    parser.add_argument("--sizes", nargs="*", type=int, default=[2500, 5000, 50000], help="images, in the replays")
    parser.add_argument("--replayed", nargs="*", type=float, default=[0.01, 0.1, 0.5], help="risks, in the replays")
    parser.add_argument("--out", type=Path, default=Path("runs/multi_fidelity"))
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    keep_freed_memory()
    torch.set_num_threads(1)
    stages = trained(arguments.out, arguments.epochs)
    for images in arguments.images:
        task = stages.images if images == "validation" else with_test_images(stages.images)
        evaluator = Evaluator(stages.supernet, task, stages.config.search.recalibration_images)
        print(f"{len(task.validation)} images, sampler {arguments.sampler}", flush=True)
        searched = searches(evaluator, arguments, images)
        replays("searched", searched, arguments)
        networks = evaluator.supernet.space.sample(RANDOM, seed=0)
        path = arguments.out / f"{images}-unchosen.npz"
        unchosen = Found.kept(path, partial(evaluated, evaluator, networks))
        replays("random", [unchosen], arguments)


def trained(out: Path, epochs: float) -> Stages:
    """The run with the supernet, trained where it is not there."""
    overrides = [f"directory={out}", f"training.epochs={epochs}", "training.processes=1"]
    config = load(CONFIG, overrides)
    stages = Stages(Run.open(config), config, Reporter())
    stages.train()
    return stages


def searches(evaluator: Evaluator, arguments: argparse.Namespace, images: str) -> list[Found]:
    """All searches; gives those that evaluated every network on all images."""
    races, sampler = {"complete": Race(rungs=())}, arguments.sampler
    races |= {f"risk {risk:g}": Race(risk=risk) for risk in arguments.risks}
    found = {
        (name, seed): Found.kept(
            arguments.out / f"{images}-{sampler}-{name.replace(' ', '-')}-{seed}.npz",
            partial(search, evaluator, race, arguments.evaluations, seed, sampler),
        )
        for seed in arguments.seeds
        for name, race in races.items()
    }
    points = np.concatenate([one.points for one in found.values()])
    ends = points.min(axis=0), points.max(axis=0)
    for (name, seed), one in found.items():
        _print(search=name, seed=seed, hypervolume=one.hypervolume(ends), **one.figures())
    return [one for (name, _), one in found.items() if name == "complete"]


def replays(name: str, searched: Sequence[Found], arguments: argparse.Namespace) -> None:
    """The rule on completely evaluated networks, with several orders of the images, on fewer and on more images."""
    for images, risk in product(arguments.sizes, arguments.replayed):
        results = [
            replay(as_if(one.hits, images), one.costs, Race(risk=risk), np.random.default_rng(order))
            for one in searched
            for order in range(arguments.orders)
        ]
        figures = np.array([astuple(one) for one in results])
        evaluated, stopped, entering, wronged, hypervolume = figures.mean(axis=0).tolist()
        _print(
            replayed=name,
            of=images,
            risk=risk,
            replays=len(results),
            images=evaluated,
            stopped=stopped,
            entering=entering,
            wronged=wronged / entering,
            hypervolume=hypervolume,
        )


def _print(**figures: Any) -> None:
    print(json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
