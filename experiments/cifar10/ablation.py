"""`python -m experiments.cifar10.ablation --data DIR`: recipes of training at equal CPU time.

Every recipe differs from the first in one respect. The rows are appended to a file of JSON lines; a recipe and seed
that is there already is not trained again, so that the command can be interrupted and repeated.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch

import search_spaces
from experiments.budget import Trained, accuracies, stratified, train_for
from experiments.rows import RowFile
from nas.config import TrainingConfig, load
from nas.memory import keep_freed_memory
from nas.search.evaluation import Evaluator
from nas.stages import load_task
from nas.tasks import ImageClassification

NETWORKS = 8


def _recipe(name: str = "sandwich", share: float = 0.5, training: Any = None, **options: Any) -> dict[str, Any]:
    """A strategy with options, after a first phase on the largest network that gets a share of the time."""
    return {"share": share, "training": {"strategy": {"name": name, "options": options}, **(training or {})}}


#: Different from config.yaml, whose training is six times as long.
SHORT = {"batch_size": 64, "learning_rate": 0.05, "processes": 1, "ema": 0.998}
BASE = "first phase 50 %"
RECIPES: dict[str, dict[str, Any]] = {
    BASE: _recipe(),
    "no first phase": _recipe(share=0.0),
    "first phase 25 %": _recipe(share=0.25),
    "first phase 70 %": _recipe(share=0.7),
    "labels 50 %": _recipe(distillation_weight=0.5),
    "labels only": _recipe(distillation_weight=0.0),
    "alpha divergence": _recipe(distillation="alpha"),
    "no random path": _recipe(random_paths=0),
    "two random paths": _recipe(random_paths=2),
    "four random paths": _recipe(random_paths=4),
    "attentive, best-up": _recipe("attentive", random_paths=1, mode="best"),
    "attentive, worst-up": _recipe("attentive", random_paths=1, mode="worst"),
    "attentive, by cost alone": _recipe("attentive", random_paths=1, mode="none"),
    "single path": _recipe("single_path"),
    "single path, no first phase": _recipe("single_path", share=0.0),
    "progressive shrinking": _recipe("progressive_shrinking", share=0.0, shares=[0.5, 0.1, 0.2, 0.2]),
    "learning rate 0.1": _recipe(training={"learning_rate": 0.1}),
    "learning rate 0.025": _recipe(training={"learning_rate": 0.025}),
    "label smoothing 0.1": _recipe(),
    "cutout": _recipe(),
    "TrivialAugment": _recipe(),
}
TASKS = {
    "label smoothing 0.1": "task.label_smoothing=0.1",
    "cutout": "task.augmentation.cutout=8",
    "TrivialAugment": "task.augmentation.trivial_augment=true",
}
RECALIBRATION = (100, 500, 2000)


def main(argv: list[str]) -> None:
    """Train the chosen recipes and print a table of all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="CPU seconds of each training")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_ablation.jsonl"))
    arguments = parser.parse_args(argv)
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = RowFile(arguments.out)
    for seed, name in product(arguments.seeds, arguments.recipes):
        if not rows.read(recipe=name, seed=seed, budget=arguments.seconds):
            rows.keep(**run(name, seed, arguments.seconds))
    print(table(rows.read()))


def run(name: str, seed: int, seconds: float) -> dict[str, Any]:
    """Train one recipe and evaluate some networks on the validation images."""
    overrides = ["task.validation=0.2", "task.augmentation.cutout=0", *([TASKS[name]] if name in TASKS else [])]
    config = load(Path(__file__).with_name("config.yaml"), overrides)
    space = search_spaces.get(config.space.name, **config.space.options)
    task = load_task(config.task, seed=0)
    recipe = RECIPES[name]
    merged = {**config.training.model_dump(), **SHORT, **recipe["training"]}
    trained = train_for(space, task, TrainingConfig.model_validate(merged), seconds, recipe["share"], seed)
    networks = stratified(space, NETWORKS)
    return {
        "recipe": name,
        "seed": seed,
        "budget": seconds,
        "cpu_seconds": trained.cpu_seconds,
        "epochs": trained.epochs,
        "macs_m": [float(m) / 1e6 for m in space.macs(space.codes(networks))],
        **_variants(trained, task, networks, seed, RECALIBRATION if name == BASE else (500,)),
    }


def _variants(
    trained: Trained, task: ImageClassification, networks: list[Any], seed: int, counts: tuple[int, ...]
) -> dict[str, list[float]]:
    """Accuracies with the last weights for each number of recalibration images, and with the averaged weights."""
    found = {
        f"last, {count}": accuracies(Evaluator(trained.supernet, task, count, seed=seed), networks) for count in counts
    }
    trained.supernet.load_state_dict(trained.average, strict=False)
    return found | {"average, 500": accuracies(Evaluator(trained.supernet, task, 500, seed=seed), networks)}


def table(found: list[dict[str, Any]]) -> str:
    """Markdown: a line for each row."""
    lines = ["| recipe | seed | epochs | CPU s | smallest | mean of the middle | largest | averaged: all | last: all |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        last, average = row["last, 500"], row["average, 500"]
        figures = [
            last[0],
            sum(last[1:-1]) / (len(last) - 2),
            last[-1],
            sum(average) / len(average),
            sum(last) / len(last),
        ]
        lines.append(
            f"| {row['recipe']} | {row['seed']} | {row['epochs']:.1f} | {row['cpu_seconds']:.0f} | "
            + " | ".join(f"{100 * figure:.1f}" for figure in figures)
            + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
