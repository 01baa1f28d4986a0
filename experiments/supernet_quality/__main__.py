"""`python -m experiments.supernet_quality --data DIR`: inherited, fine-tuned and alone, for every strategy.

Twelve networks from the smallest to the largest, their MACs evenly spaced in logarithm, with several seeds:

* trained alone from scratch for the epochs of config.yaml;
* inherited from a supernet trained by default for the same epochs, and by each strategy for the CPU time that this took;
* inherited from the former and fine-tuned for three epochs, distilled from the largest network.

Each result is appended to a file of JSON lines as soon as it is there; what is there already is not done again, so that
the command can be interrupted, repeated, and started twice with different seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

import search_spaces
from experiments.budget import NOWHERE, resized, stratified, train_alone, train_for
from experiments.rows import RowFile
from nas.config import RunConfig, TrainingConfig, load
from nas.memory import keep_freed_memory
from nas.search.evaluation import Evaluator
from nas.stages import load_task
from nas.tasks import ImageClassification
from nas.training.loop import Trainer, total_steps
from nas.training.strategies import planned_strategy
from nas.training.strategies.alone import Alone
from search_spaces import Architecture, SearchSpace

NETWORKS = 12
FINETUNE_EPOCHS = 3.0
#: Strategy, its options, and the share of the time that a first phase on the largest network gets.
AT_EQUAL_TIME: dict[str, tuple[str, dict[str, Any], float]] = {
    "sandwich, first phase": ("sandwich", {"distillation_weight": 1.0}, 0.5),
    "the same, half of the loss from the labels": ("sandwich", {"distillation_weight": 0.5}, 0.5),
    "the same, three random paths": ("sandwich", {"distillation_weight": 0.5, "random_paths": 3}, 0.5),
    "attentive, first phase": ("attentive", {}, 0.5),
    "single path, first phase": ("single_path", {}, 0.5),
    "progressive shrinking": ("progressive_shrinking", {}, 0.0),
    "sandwich": ("sandwich", {}, 0.0),
    "single path": ("single_path", {}, 0.0),
}


@dataclass(frozen=True)
class Bench:
    """What all parts of the experiment share."""

    config: RunConfig
    space: SearchSpace
    task: ImageClassification
    networks: list[Architecture]
    rows: RowFile

    def done(self) -> set[tuple[str, int]]:
        """Parts that are on record: name and seed."""
        return {(row["part"], row["seed"]) for row in self.rows.read()}

    def keep(self, part: str, seed: int, **figures: Any) -> None:
        """Put a result on record."""
        self.rows.keep(part=part, seed=seed, **figures)
        print(f"{part}, seed {seed}: {figures}", flush=True)

    def evaluator(self, supernet: Any, seed: int) -> Evaluator:
        """Evaluates with the recalibration images of a seed."""
        return Evaluator(supernet, self.task, self.config.search.recalibration_images, seed=seed)


def main(argv: list[str]) -> None:
    """Do what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/supernet_quality.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print what is on record")
    arguments = parser.parse_args(argv)
    if not arguments.table:
        if not arguments.data:
            parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
        os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
        measure(arguments.seeds, RowFile(arguments.out))
    print(tables(RowFile(arguments.out).read()))


def measure(seeds: list[int], rows: RowFile) -> None:
    """Do all parts that are not on record yet."""
    keep_freed_memory()
    torch.set_num_threads(1)
    config = load(Path(__file__).with_name("config.yaml"))
    space = search_spaces.get(config.space.name, **config.space.options)
    bench = Bench(config, space, load_task(config.task, config.seed), stratified(space, NETWORKS), rows)
    for seed in seeds:
        inherit(bench, seed)
        inherit_more_paths(bench, seed)
        for index in range(NETWORKS):
            alone(bench, index, seed)
        for name in AT_EQUAL_TIME:
            at_equal_time(bench, name, seed)


def alone(bench: Bench, index: int, seed: int) -> None:
    """One network trained from scratch."""
    part = f"alone {index}"
    if (part, seed) in bench.done():
        return
    architecture = bench.networks[index]
    network = train_alone(bench.space, bench.task, architecture, bench.config.training, seed).eval()
    evaluator = bench.evaluator(bench.space.build_supernet(), seed)
    bench.keep(part, seed, test=evaluator.accuracy(network, architecture, "test"))


def inherit(bench: Bench, seed: int) -> None:
    """The default training for the epochs that the networks are trained alone, then fine-tuning."""
    if ("finetuned", seed) in bench.done():
        return
    evaluator, took = supernet(bench, quiet(bench), seed)
    if ("inherited", seed) not in bench.done():
        bench.keep("inherited", seed, test=tested(bench, evaluator), cpu_seconds=took)
    bench.keep("finetuned", seed, test=[finetuned(bench, evaluator, path, seed) for path in bench.networks])


def inherit_more_paths(bench: Bench, seed: int) -> None:
    """The recipe of experiments/cifar10 for the same epochs: it takes more time, and no more images."""
    part = "inherited, four random paths"
    if (part, seed) in bench.done():
        return
    strategy = {"name": "sandwich", "options": {"random_paths": 4, "distillation_weight": 0.5}}
    chosen = {**quiet(bench).model_dump(), "strategy": strategy, "largest_share": 0.4}
    evaluator, took = supernet(bench, TrainingConfig.model_validate(chosen), seed)
    bench.keep(part, seed, test=tested(bench, evaluator), cpu_seconds=took)


def supernet(bench: Bench, config: TrainingConfig, seed: int) -> tuple[Evaluator, float]:
    """Train a supernet; what evaluates its networks, and the CPU seconds of the training."""
    torch.manual_seed(seed)
    network = bench.space.build_supernet()
    strategy = planned_strategy(config, bench.space, total_steps(bench.task, config))
    started = time.process_time()
    Trainer(network, bench.task, strategy, config, seed, NOWHERE).run()
    return bench.evaluator(network, seed), time.process_time() - started


def finetuned(bench: Bench, evaluator: Evaluator, architecture: Architecture, seed: int) -> float:
    """Test accuracy after some more epochs, distilled from the largest network."""
    network = evaluator.network(architecture)
    largest = bench.space.largest()
    teacher = resized(bench.space, evaluator.network(largest), largest)
    student = resized(bench.space, network, architecture)
    short = quiet(bench).model_copy(update={"epochs": FINETUNE_EPOCHS, "learning_rate": 0.01, "warmup_epochs": 0.0})
    Trainer(student, bench.task, Alone(teacher), short, seed, NOWHERE).run()
    return evaluator.accuracy(network.eval(), architecture, "test")


def at_equal_time(bench: Bench, name: str, seed: int) -> None:
    """A strategy for the time that the default training took for its epochs."""
    if (name, seed) in bench.done():
        return
    strategy, options, share = AT_EQUAL_TIME[name]
    chosen = {"strategy": {"name": strategy, "options": options}}
    config = TrainingConfig.model_validate({**quiet(bench).model_dump(), **chosen})
    budget = bench.rows.read(part="inherited", seed=seed)[0]["cpu_seconds"]
    trained = train_for(bench.space, bench.task, config, budget, share, seed)
    accuracies = tested(bench, bench.evaluator(trained.supernet, seed))
    bench.keep(name, seed, test=accuracies, epochs=trained.epochs, cpu_seconds=trained.cpu_seconds)


def quiet(bench: Bench) -> TrainingConfig:
    """The training of config.yaml without checkpoints."""
    return bench.config.training.model_copy(update={"checkpoint_seconds": 1e9})


def tested(bench: Bench, evaluator: Evaluator) -> list[float]:
    """Test accuracy of every network, recalibrated."""
    return [evaluator.accuracy(evaluator.network(path), path, "test") for path in bench.networks]


def tables(rows: list[dict[str, Any]]) -> str:
    """Rank agreement with training alone, and the accuracies behind it, as Markdown."""
    seeds = sorted({row["seed"] for row in rows})
    reference = [_alone(rows, seed) for seed in seeds]
    complete = [accuracies for accuracies in reference if accuracies is not None]
    if not complete:
        return "no seed has all networks trained alone yet"
    truth = np.mean(complete, axis=0)
    parts = [part for part in dict.fromkeys(row["part"] for row in rows) if not part.startswith("alone ")]
    lines = [
        f"Alone, mean of {len(complete)} seeds: " + ", ".join(f"{100 * value:.1f}" for value in truth),
        "",
        "| weights | seeds | tau | Spearman | smallest | mean of all | largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in parts:
        found = np.array([row["test"] for row in rows if row["part"] == part])
        taus = [kendalltau(truth, accuracies).statistic for accuracies in found]
        spearman = [spearmanr(truth, accuracies).statistic for accuracies in found]
        ends = [100 * found[:, 0], 100 * found.mean(axis=1), 100 * found[:, -1]]
        lines.append(
            f"| {part} | {len(found)} | {_spread(taus, 3)} | {_spread(spearman, 3)} | "
            + " | ".join(_spread(values, 1) for values in ends)
            + " |"
        )
    among = [kendalltau(a, b).statistic for (i, a), (j, b) in product(enumerate(complete), repeat=2) if i < j]
    if among:
        lines += ["", f"Between seeds of training alone: tau {_spread(among, 3)}."]
    return "\n".join(lines)


def _alone(rows: list[dict[str, Any]], seed: int) -> list[float] | None:
    found = {row["part"]: row["test"] for row in rows if row["seed"] == seed and row["part"].startswith("alone ")}
    return [found[f"alone {i}"] for i in range(NETWORKS)] if len(found) == NETWORKS else None


def _spread(values: Any, digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ({np.min(values):.{digits}f} to {np.max(values):.{digits}f})"


if __name__ == "__main__":
    main(sys.argv[1:])
