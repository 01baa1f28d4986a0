"""Trainings of small language models that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import search_spaces
from nas.config import RunConfig, TrainingConfig, parse
from nas.testing.toy_language import VOCABULARY, ToyLanguage
from nas.training.loop import Trainer
from nas.training.strategies import make_strategy
from nas.training.strategies.alone import Alone
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet

#: Of the space.
SIZES: dict[str, Any] = {
    "vocabulary": VOCABULARY,
    "prefill": [8],
    "decode": [8],
    "widths": [16, 24],
    "depths": [1, 2],
    "heads": 2,
    "kv_heads": [1, 2],
    "windows": [4],
    "states": [4],
    "ratios": [1, 2],
}

#: In a precision that repeats exactly.
TRAINING: dict[str, Any] = {
    "epochs": 1.0,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "device": "cpu",
    "precision": "float32",
    "channels_last": False,
}


def small_space(**options: Any) -> SearchSpace:
    return search_spaces.get("hybrid-slm", **SIZES | options)


def small_supernet(**options: Any) -> Supernet:
    torch.manual_seed(0)
    return small_space(**options).build_supernet()


def train(network: nn.Module, folder: Path, **training: Any) -> Trainer[Any]:
    """A training that has come to its end: with the sandwich rule of a supernet, on the labels of another network."""
    strategy: Any = make_strategy("sandwich", {}) if isinstance(network, Supernet) else Alone()
    config = TrainingConfig.model_validate(TRAINING | training)
    trainer: Trainer[Any] = Trainer(network, ToyLanguage(), strategy, config, 0, folder / "checkpoint")
    trainer.run()
    return trainer


def run_config(folder: Path, space: dict[str, Any] | None = None, **training: Any) -> RunConfig:
    return parse(
        {
            "name": "run",
            "directory": str(folder / "run"),
            "threads": 1,
            "space": {"name": "hybrid-slm", "options": SIZES | (space or {})},
            "training": TRAINING | training,
            "search": {"objectives": ["bits_per_byte", "macs_m"]},
        }
    )
