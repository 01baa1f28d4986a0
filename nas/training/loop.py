"""The training loop: over any network, task and strategy, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor, nn

from nas.config import TrainingConfig
from nas.errors import UsageError
from nas.files import read_checkpoint, write_checkpoint
from nas.progress import Advance
from nas.tasks import Task
from nas.training.ema import WeightAverage
from nas.training.execution import Execution, candidates, distinct, fastest
from nas.training.log import EpochLog
from nas.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from nas.training.processes import Processes, check_divisible
from nas.training.strategy import Network, Step, Strategy
from nas.training.sync_batch_norm import SyncBatchNorm
from nas.training.weight_normalization import weight_normalization
from search_spaces.reordering import Reordering


def total_steps(task: Task, config: TrainingConfig) -> int:
    """Steps of the optimiser in a whole training, at least one."""
    return max(1, round(task.steps_per_epoch(config.batch_size) * config.epochs))


class Trainer(Generic[Network]):
    """Trains a network and leaves a checkpoint from which an interrupted training goes on exactly.

    The order of the samples depends on the seed and the epoch, the sampled networks on the seed and the step; a
    resumed training therefore takes the same steps as an undisturbed one. So that it also computes them in the same
    way, the choice of precision and layout is part of the checkpoint.

    Args:
        network: trained in place.
        task: gives samples, their targets and the loss.
        strategy: what a step trains.
        config: sizes and rates.
        seed: of the order of samples, their augmentation and the sampled networks.
        checkpoint: file of the interrupted training; deleted by the caller once the result is kept.
        processes: that share the work; each batch is divided among them.
        on_epoch: is given the logs of all epochs after each one.

    Raises:
        UsageError: when the batches cannot be divided among the processes, there is no GPU as asked for, or the network
            is none for an option of the configuration.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        strategy: Strategy[Network],
        config: TrainingConfig,
        seed: int,
        checkpoint: Path,
        processes: Processes | None = None,
        on_epoch: Callable[[Sequence[EpochLog]], None] | None = None,
    ) -> None:
        self.network, self.task, self.strategy, self.config = network, task, strategy, config
        self.seed, self.checkpoint, self.on_epoch = seed, checkpoint, on_epoch
        self.processes = processes or Processes()
        check_divisible(config.batch_size, self.processes.count)
        self.steps_per_epoch = task.steps_per_epoch(config.batch_size)
        self.total_steps = total_steps(task, config)
        self.options = candidates(config)
        network.to(self.options[0].device)
        # Other networks than the largest change with each step, and would each be compiled anew.
        self._compiled = torch.compile(network) if config.compile else None
        self.optimizer = make_optimizer(network, config)
        self.normalization = weight_normalization(network, config)
        self.average = WeightAverage(network, config.ema) if config.ema else None
        self.execution = self.options[0] if len(self.options) == 1 else None
        self.step, self.seconds = 0, 0.0
        self.logs: list[EpochLog] = []
        self._sums: dict[str, list[float]] = {}

    def run(self, progress: Advance | None = None) -> list[EpochLog]:
        """Train to the end, from the checkpoint when there is one. The network then has its averaged weights."""
        if self.checkpoint.exists():
            self._restore(read_checkpoint(self.checkpoint))
        self._check_together()
        self.network.train()
        if self.execution is None:
            self.execution = self._fastest()
        saved = time.monotonic()
        for inputs, target in self._batches():
            started = time.monotonic()
            self._train_step(inputs, target)
            self.seconds += time.monotonic() - started
            if self.step % self.steps_per_epoch == 0 or self.step == self.total_steps:
                self._end_epoch()
            if time.monotonic() - saved > self.config.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
            if progress is not None:
                progress(self.step, self.total_steps)
        if self.average is not None:
            self.average.copy_to(self.network)
            if self.normalization is not None:  # a mean of vectors of length one is shorter
                self.normalization.project()
        return self.logs

    def save(self) -> None:
        """Write the checkpoint; with several processes, the first one does."""
        if self.processes.rank == 0:
            write_checkpoint(self.checkpoint, self._state())

    def learning_rate(self, step: int) -> float:
        """The learning rate after `step` steps."""
        warmup = self.config.warmup * self.steps_per_epoch
        return learning_rate(step, self.config.learning_rate, warmup, self.total_steps)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is left of this training, from the current step on."""
        while self.step < self.total_steps:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            left = min(self.steps_per_epoch, done + self.total_steps - self.step)
            yield from islice(self._epoch(epoch), done, left)

    def _epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        return self.task.train_batches(self.config.batch_size, generator)

    def _moment(self) -> Step:
        rng = np.random.default_rng([self.seed, self.step])
        return Step(self.step, self.total_steps, rng, self.task.loss, self._compiled)

    def _train_step(self, inputs: Tensor, target: Tensor) -> None:
        set_learning_rate(self.optimizer, self.learning_rate(self.step))
        self._follow(self.strategy.prepare(self.network, self._moment()))
        self.optimizer.zero_grad(set_to_none=True)
        execution = self.execution or Execution()
        inputs, target = execution.place(self.processes.share(inputs), self.processes.share(target))
        with self._computing(execution):
            losses = self.strategy.step(self.network, inputs, target, self._moment())
        self.processes.average_gradients([*self.network.parameters(), *self.strategy.parameters()])
        losses = self.processes.average(losses)
        self._check_finite("loss", losses)
        self.strategy.observe(self.network, losses)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self._check_finite("gradient", {"norm": float(norm)})
        self.optimizer.step()
        if self.normalization is not None:
            self.normalization.project()
        self.step += 1
        if self.average is not None:
            self.average.update(self.network, self.step)
        for name, value in losses.items():
            self._sums.setdefault(name, []).append(value)

    @contextmanager
    def _computing(self, execution: Execution) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(execution.active())
            if self.config.sync_batch_norm and self.processes.count > 1:
                stack.enter_context(SyncBatchNorm())
            yield

    def _check_together(self) -> None:
        if self.processes.first(self.step) != self.step:
            raise UsageError(
                f"the processes of this training do not read the same {self.checkpoint}; start them in one directory "
                "that all of them see"
            )

    def _check_finite(self, what: str, values: dict[str, float]) -> None:
        if not all(math.isfinite(value) for value in values.values()):
            raise FloatingPointError(
                f"the {what} is not finite at step {self.step} ({values}); lower training.learning_rate"
            )

    def _follow(self, moved: list[Reordering]) -> None:
        """Move what belongs to the weights that the strategy moved: momentum and average."""
        if not moved:
            return
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        for reordering in moved:
            state: dict[str, Any] = self.optimizer.state.get(reordering.tensor, {})
            companions = [value for value in state.values() if isinstance(value, Tensor) and value.dim()]
            if self.average is not None and id(reordering.tensor) in names:
                companions.append(self.average.tensors[names[id(reordering.tensor)]])
            for tensor in companions:
                reordering.apply(tensor)

    def _fastest(self) -> Execution:
        """Time a step of every way of execution that is left open, on a copy; all processes follow the first."""
        inputs, target = (self.processes.share(part) for part in next(self._epoch(0)))
        options = distinct(self.options, inputs)
        network, strategy = deepcopy(self.network), deepcopy(self.strategy)

        def step(execution: Execution) -> None:
            network.zero_grad(set_to_none=True)
            with self._computing(execution):
                strategy.step(network, *execution.place(inputs, target), replace(self._moment(), compiled=None))

        return options[self.processes.first(options.index(fastest(options, step)))]

    def _end_epoch(self) -> None:
        losses = {name: math.fsum(values) / len(values) for name, values in self._sums.items()}
        epoch = math.ceil(self.step / self.steps_per_epoch)
        self.logs.append(EpochLog(self.step, epoch, self.seconds, self.learning_rate(self.step - 1), losses))
        self._sums = {}
        if self.on_epoch is not None and self.processes.rank == 0:
            self.on_epoch(self.logs)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "strategy": self.strategy.state(),
            "average": self.average.tensors if self.average else {},
            "execution": asdict(self.execution or Execution()),
            "step": self.step,
            "seconds": self.seconds,
            "sums": self._sums,
            "logs": [asdict(log) for log in self.logs],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.strategy.restore(state["strategy"])
            if self.average is not None:
                self.average.restore(state["average"])
            kept = Execution(**state["execution"])
            if kept in self.options:  # not so on another machine, without the GPU that this training began on
                self.execution = kept
            self.step, self.seconds, self._sums = state["step"], state["seconds"], state["sums"]
            self.logs = [EpochLog(**log) for log in state["logs"]]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"{self.checkpoint} is not a checkpoint of this training; delete it to train again from the start"
            ) from error
