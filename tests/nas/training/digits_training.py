"""A training of a few seconds; as a script, one that writes a line after each step and can be killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

import search_spaces
from nas.config import TrainingConfig
from nas.tasks import ImageClassification
from nas.training.loop import Strategy, Trainer
from nas.training.sandwich import Sandwich
from search_spaces import SearchSpace


def small_space(**options: Any) -> SearchSpace:
    """Networks of 8 x 8 pixels."""
    defaults: dict[str, Any] = {
        "resolutions": [8],
        "in_channels": 1,
        "stem": 8,
        "widths": [[12, 16]],
        "strides": [2],
        "depths": [[1, 2]],
        "group_width": 4,
        "head": 32,
    }
    return search_spaces.get("convnet", **defaults | options)


def make_trainer(
    task: ImageClassification,
    checkpoint: Path,
    space: SearchSpace | None = None,
    strategy: Strategy | None = None,
    seed: int = 0,
    **config: Any,
) -> Trainer:
    """Twelve steps in three epochs, with a checkpoint after each step."""
    defaults: dict[str, Any] = {"epochs": 3, "batch_size": 300, "checkpoint_seconds": 1e-9}
    torch.manual_seed(seed)
    supernet = (space or small_space()).build_supernet()
    settings = TrainingConfig(**defaults | config)
    return Trainer(supernet, task, strategy or Sandwich(1), settings, seed, checkpoint)


if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = make_trainer(ImageClassification.load("digits"), Path(sys.argv[1]))
    trainer.run(lambda step, total: print(step, flush=True))
