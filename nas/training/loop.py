"""The training loop: over any supernet and task, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.errors import UsageError
from nas.files import read_checkpoint, write_checkpoint
from nas.progress import Advance
from nas.tasks import ImageClassification
from nas.training.sandwich import Loss
from search_spaces.supernet import Supernet


class Strategy(Protocol):
    """Decides which networks of the supernet a step trains, and on what."""

    def step(
        self, supernet: Supernet, images: Tensor, target: Tensor, loss: Loss, rng: np.random.Generator
    ) -> dict[str, float]:
        """Add the gradients of one step and return its losses by name."""


@dataclass(frozen=True)
class EpochLog:
    """What one epoch of training gave.

    Attributes:
        step: optimiser steps so far.
        epoch: epochs so far.
        seconds: time spent training so far, interruptions left out.
        learning_rate: at the end of the epoch.
        losses: means over the epoch by name.
    """

    step: int
    epoch: int
    seconds: float
    learning_rate: float
    losses: Mapping[str, float]


class Trainer:
    """Trains a supernet and leaves a checkpoint from which an interrupted training goes on exactly.

    The order of the images depends on the seed and the epoch, the sampled networks on the seed and the step; a
    resumed training therefore takes the same steps as an undisturbed one.

    Args:
        supernet: trained in place.
        task: gives images, labels and loss.
        strategy: what a step trains.
        config: sizes and rates.
        seed: of the order of images, their augmentation and the sampled networks.
        checkpoint: file of the interrupted training; deleted by the caller once the result is kept.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: ImageClassification,
        strategy: Strategy,
        config: TrainingConfig,
        seed: int,
        checkpoint: Path,
    ) -> None:
        self.supernet, self.task, self.strategy, self.config = supernet, task, strategy, config
        self.seed, self.checkpoint = seed, checkpoint
        self.optimizer = _optimizer(supernet, config)
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.step, self.seconds = 0, 0.0
        self.logs: list[EpochLog] = []
        self._sums: dict[str, float] = {}

    def run(self, progress: Advance | None = None) -> list[EpochLog]:
        """Train to the end, from the checkpoint when there is one."""
        if self.checkpoint.exists():
            self._restore(read_checkpoint(self.checkpoint))
        self.supernet.train()
        saved = time.monotonic()
        while self.step < self.total_steps:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            for images, target in islice(self._epoch(epoch), done, None):
                started = time.monotonic()
                self._train_step(images, target)
                self.seconds += time.monotonic() - started
                if self.step % self.steps_per_epoch == 0:
                    self._end_epoch()
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    write_checkpoint(self.checkpoint, self._state())
                    saved = time.monotonic()
                if progress is not None:
                    progress(self.step, self.total_steps)
        return self.logs

    def _epoch(self, epoch: int) -> Any:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        return self.task.train_batches(self.config.batch_size, generator)

    def _train_step(self, images: Tensor, target: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        if self.config.channels_last:  # the weights are slices, which torch lays out to match
            images = images.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        rng = np.random.default_rng([self.seed, self.step])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            losses = self.strategy.step(self.supernet, images, target, self.task.loss, rng)
        if not all(math.isfinite(value) for value in losses.values()):
            raise FloatingPointError(
                f"the loss is not finite at step {self.step} ({losses}); lower training.learning_rate"
            )
        norm = nn.utils.clip_grad_norm_(self.supernet.parameters(), self.config.clip_norm)
        if not math.isfinite(norm):
            raise FloatingPointError(f"the gradient is not finite at step {self.step}; lower training.learning_rate")
        self.optimizer.step()
        self.step += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        warmup = self.config.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.config.learning_rate * (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1.0, self.total_steps - warmup)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _end_epoch(self) -> None:
        losses = {name: total / self.steps_per_epoch for name, total in self._sums.items()}
        epoch = self.step // self.steps_per_epoch
        self.logs.append(EpochLog(self.step, epoch, self.seconds, self.learning_rate(self.step - 1), losses))
        self._sums = {}

    def _state(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "sums": self._sums,
            "logs": [asdict(log) for log in self.logs],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.supernet.load_state_dict(state["supernet"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self._sums = state["step"], state["seconds"], state["sums"]
            self.logs = [EpochLog(**log) for log in state["logs"]]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self.checkpoint} is not a checkpoint of this training; delete it to train again from the start"
            ) from error


def _optimizer(supernet: Supernet, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; vectors (normalisation, biases) and kernel matrices are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in supernet.named_parameters():
        (free if parameter.dim() < 2 or "kernel_matrices" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
