"""A training of a few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import search_spaces
from nas.config import TrainingConfig
from nas.tasks import ImageClassification
from nas.training.loop import Trainer
from nas.training.processes import Processes
from nas.training.strategies import make_strategy
from nas.training.strategy import Strategy
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


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


def make_config(**config: Any) -> TrainingConfig:
    """Three epochs of four steps, with a checkpoint after each step, in a precision that repeats exactly."""
    defaults = {"epochs": 3, "batch_size": 300, "checkpoint_seconds": 1e-9}
    execution = {"device": "cpu", "precision": "float32", "channels_last": False}
    return TrainingConfig(**defaults | execution | config)


def make_trainer(
    task: ImageClassification,
    checkpoint: Path,
    space: SearchSpace | None = None,
    strategy: Strategy[Supernet] | None = None,
    seed: int = 0,
    largest_steps: int = 0,
    processes: Processes | None = None,
    **config: Any,
) -> Trainer[Supernet]:
    """A training with `make_config`, by default with the sandwich rule."""
    torch.manual_seed(seed)
    supernet = (space or small_space()).build_supernet()
    strategy = strategy or make_strategy("sandwich", {"random_paths": 1}, largest_steps)
    return Trainer(supernet, task, strategy, make_config(**config), seed, checkpoint, processes)
