"""`python -m experiments.hybrid_slm.recipes --data DIR`: which way of training is the best for one network alone?

Trains one network from scratch on equally many tokens in several ways, and prints bits per byte and recall of each, the mean
and the spread over seeds. Rows are appended to a file of JSON lines; what is there already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from types import MappingProxyType
from typing import Any

import torch

from experiments.hybrid_slm.alone import train_alone
from experiments.hybrid_slm.networks import pattern
from experiments.rows import RowFile
from nas.config import load
from nas.memory import keep_freed_memory
from nas.pipeline import open_stages
from nas.search.judging import make_evaluator

CONFIG = Path(__file__).with_name("config.yaml")

#: What each way changes in `training` of the experiment's configuration.
RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "as configured: batch 8, rate 1e-3, of the embedding 10 times": {},
        "the embedding 3 times": {"learning_rate_multipliers": {"embedding": 3}},
        "one rate": {"learning_rate_multipliers": {}},
        "one rate, 3e-3": {"learning_rate_multipliers": {}, "learning_rate": 3e-3},
        "one rate, 3e-3, batch 4": {"learning_rate_multipliers": {}, "learning_rate": 3e-3, "batch_size": 4},
        "one rate, 3e-3, batch 16": {"learning_rate_multipliers": {}, "learning_rate": 3e-3, "batch_size": 16},
        "weights of length one": {"weight_normalization": True, "weight_decay": 0},
        "rate 1e-2 for a width of 13": {
            "learning_rate_multipliers": {},
            "learning_rate": 1e-2,
            "learning_rate_base_width": 13,
        },
    }
)


def changes(recipe: str) -> list[str]:
    """A recipe as overrides of the configuration."""
    return [f"training.{name}={json.dumps(value)}" for name, value in RECIPES[recipe].items()]


def row(network: str, recipe: str, tokens: float, seed: int) -> dict[str, Any]:
    """What one training gave; seconds are those of the processor."""
    stages = open_stages(load(CONFIG, changes(recipe)))
    architecture = pattern(stages.space, network)
    started = time.process_time()
    trained = train_alone(stages, architecture, tokens, seed)
    seconds = time.process_time() - started
    judge = make_evaluator(stages.space.build_supernet(), stages.task)
    return {
        "network": network,
        "recipe": recipe,
        "tokens": tokens,
        "seed": seed,
        "cpu_seconds": round(seconds, 1),
        **judge.figures(trained, architecture),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the recipes of each network, in the order in which they are tried."""
    lines = ["| network | recipe | seeds | bits per byte | recall (%) | CPU seconds |", "|---|---|---|---|---|---|"]
    for network in dict.fromkeys(row["network"] for row in rows):
        for recipe in RECIPES:
            found = [row for row in rows if (row["network"], row["recipe"]) == (network, recipe)]
            if found:
                bits, recall = ([row[name] for row in found] for name in ("bits_per_byte", "recall"))
                spread = f" ± {stdev(bits):.3f}" if len(bits) > 1 else ""
                answers = ", ".join(f"{100 * value:.1f}" for value in recall)
                seconds = mean(row["cpu_seconds"] for row in found)
                lines.append(
                    f"| {network} | {recipe} | {len(found)} | {mean(bits):.3f}{spread} | {answers} | {seconds:.0f} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--networks", nargs="+", default=["short_convolution+attention@4"])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--tokens", type=float, default=1.2e6)
    parser.add_argument("--out", type=Path, default=Path("runs/hybrid_slm_recipes.jsonl"))
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    torch.set_num_threads(1)
    keep_freed_memory()
    rows, tokens = RowFile(arguments.out), arguments.tokens
    for network, recipe, seed in product(arguments.networks, arguments.recipes, arguments.seeds):
        if not rows.read(network=network, recipe=recipe, tokens=tokens, seed=seed):
            rows.keep(**row(network, recipe, tokens, seed))
    print(table(rows.read(tokens=tokens)))


if __name__ == "__main__":
    main()
