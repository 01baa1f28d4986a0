"""`python -m experiments.hybrid_slm.alone --data DIR --networks ... --seeds 0 1 2`: networks trained alone.

Each network is trained from scratch on the same tokens with the recipe of the supernet, and judged on the validation books
and on recall, beside what it inherits from the supernet of the run. Rows are appended to a file of JSON lines; what is there
already is not trained again. `experiments.hybrid_slm.networks` says how networks are named.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from experiments.budget import NOWHERE
from experiments.hybrid_slm.networks import networks
from experiments.rows import RowFile
from nas.memory import keep_freed_memory
from nas.pipeline import existing_stages
from nas.stages import Stages
from nas.training.loop import Trainer
from nas.training.strategies.alone import Alone
from search_spaces import Architecture


def train_alone(stages: Stages, architecture: Architecture, tokens: float, seed: int) -> torch.nn.Sequential:
    """A static network after about `tokens` tokens of training from scratch."""
    config, task = stages.config.training, stages.task
    length = next(task.train_batches(1, torch.Generator()))[0].shape[1]
    epochs = tokens / (task.steps_per_epoch(config.batch_size) * config.batch_size * length)
    config = config.model_copy(update={"epochs": epochs, "checkpoint_seconds": 1e9})
    torch.manual_seed(seed)
    network = stages.space.build(architecture)
    Trainer(network, task, Alone(), config, seed, NOWHERE).run()
    return network.eval()


def row(stages: Stages, name: str, architecture: Architecture, tokens: float, seed: int) -> dict[str, Any]:
    """What one training gave; seconds are those of the processor."""
    started = time.process_time()
    network = train_alone(stages, architecture, tokens, seed)
    seconds = time.process_time() - started
    codes = stages.space.codes([architecture])
    return {
        "network": name,
        "seed": seed,
        "tokens": tokens,
        "cpu_seconds": round(seconds, 1),
        "parameters_m": round(float(stages.space.parameters(codes)[0]) / 1e6, 3),
        "alone": dict(stages.judge.figures(network, architecture)),
        "values": architecture.values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    parser.add_argument("--run", type=Path, default=Path("runs/hybrid_slm"))
    parser.add_argument("--networks", nargs="+", required=True, help="such as attention@6 random:10 front:3")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tokens", type=float, default=1e6)
    parser.add_argument("--out", type=Path, default=Path("runs/hybrid_slm_alone.jsonl"))
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["NASMYTH_DATA"] = str(Path(arguments.data).resolve())
    torch.set_num_threads(1)
    keep_freed_memory()
    stages = existing_stages(arguments.run)
    rows = RowFile(arguments.out)
    for seed in arguments.seeds:
        for name, architecture in networks(stages, arguments.networks).items():
            if rows.read(network=name, seed=seed, tokens=arguments.tokens):
                continue
            found = row(stages, name, architecture, arguments.tokens, seed)
            found["inherited"] = dict(stages.judge.figures(stages.judge.network(architecture), architecture))
            rows.keep(**found)
            print(json.dumps({key: found[key] for key in ("network", "seed", "alone", "inherited")}), flush=True)


if __name__ == "__main__":
    main()
