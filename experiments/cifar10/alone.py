"""`python -m experiments.cifar10.alone --data DIR`: the networks of the supernet against the same ones trained alone.

Some networks from the smallest to the largest are trained from scratch for the image passes, with the recipe and the
augmentation of the supernet, without a teacher. The rows are appended to a file of JSON lines; a network that is there
already is not trained again. `--inherit` adds the accuracies that the finished run in runs/cifar10 gives them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

import search_spaces
from experiments.budget import stratified, train_alone
from experiments.rows import RowFile
from nas.config import RunConfig, load
from nas.memory import keep_freed_memory
from nas.pipeline import existing_stages
from nas.search.evaluation import Evaluator
from nas.stages import load_task
from nas.tasks import ImageClassification
from nas.tasks.task import Split
from nas.training.recalibration import recalibrate
from search_spaces import Architecture, SearchSpace

NETWORKS = 8


def main(argv: list[str]) -> None:
    """Train the chosen networks alone and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--networks", nargs="*", type=int, default=[0, 1, 3, 5, 7], help="of the 8, by rising MACs")
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10_alone.jsonl"))
    parser.add_argument("--run", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--inherit", action="store_true", help="compare with the supernet of --run")
    arguments = parser.parse_args(argv)
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    torch.set_num_threads(1)
    keep_freed_memory()
    config = load(Path(__file__).with_name("config.yaml"))
    space = search_spaces.get(config.space.name, **config.space.options)
    task = load_task(config.task, config.seed)
    networks = stratified(space, NETWORKS)
    rows = RowFile(arguments.out)
    for index in arguments.networks:
        if not rows.read(network=index):
            checkpoint = arguments.out.with_name(f"{arguments.out.stem}_{index}.checkpoint")
            rows.keep(**run(index, networks[index], space, task, config, checkpoint))
            checkpoint.unlink(missing_ok=True)
    inherited = inherit(arguments.run, networks, arguments.networks) if arguments.inherit else {}
    print(table(rows.read(), inherited))


def run(
    index: int,
    architecture: Architecture,
    space: SearchSpace,
    task: ImageClassification,
    config: RunConfig,
    checkpoint: Path,
) -> dict[str, Any]:
    """Train one network alone and test it, with the statistics that training left and with recalibrated ones."""
    started = time.process_time()
    network = train_alone(space, task, architecture, config.training, config.seed, checkpoint).eval()
    seconds = time.process_time() - started
    evaluator = Evaluator(space.build_supernet(), task, config.search.recalibration_images, seed=config.seed)
    plain = {split: evaluator.accuracy(network, architecture, split) for split in ("validation", "test")}
    recalibrate(network, (images for images, _ in task.recalibration_batches(500, 64, config.seed)))
    recalibrated = {split: evaluator.accuracy(network, architecture, split) for split in ("validation", "test")}
    macs = float(space.macs(space.codes([architecture]))[0]) / 1e6
    return {
        "network": index,
        "macs_m": macs,
        "epochs": config.training.epochs,
        "cpu_seconds": seconds,
        "plain": plain,
        "recalibrated": recalibrated,
    }


def inherit(run: Path, networks: list[Architecture], chosen: list[int]) -> dict[int, dict[str, float]]:
    """Accuracies with the weights of a finished run."""
    evaluator = existing_stages(run).evaluator
    splits: tuple[Split, ...] = ("validation", "test")
    found: dict[int, dict[str, float]] = {}
    for index in chosen:
        network = evaluator.network(networks[index])
        found[index] = {split: evaluator.accuracy(network, networks[index], split) for split in splits}
    return found


def table(found: list[dict[str, Any]], inherited: dict[int, dict[str, float]]) -> str:
    """Markdown: a line for each network."""
    lines = [
        "| MMAC | alone, test % | alone, recalibrated | inherited, test % | inherited - alone |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(found, key=lambda row: row["network"]):
        index = row["network"]
        alone, again = 100 * row["plain"]["test"], 100 * row["recalibrated"]["test"]
        mine = 100 * inherited[index]["test"] if index in inherited else float("nan")
        lines.append(
            f"| {row['macs_m']:.1f} | {alone:.1f} | {again:.1f} | {mine:.1f} | {mine - max(alone, again):+.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
