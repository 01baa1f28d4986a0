"""What the experiments on training share: equal CPU time, networks of all sizes, and their accuracies."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.config import TrainingConfig
from nas.export.finetuning import Resized
from nas.search.evaluation import Evaluator
from nas.tasks import ImageClassification
from nas.training.loop import Trainer
from nas.training.strategies import make_strategy
from nas.training.strategies.alone import Alone
from nas.training.strategy import Network, Strategy
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet

NOWHERE = Path("/nonexistent/checkpoint")
_PROBE = 8


def stratified(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    """`n` networks from the smallest to the largest: both ends, and random ones whose MACs are evenly spaced, in
    logarithm, between them."""
    codes = space.random_codes(4000, np.random.default_rng(seed))
    macs = np.log(space.macs(codes))
    low, high = np.log(space.macs(space.codes([space.smallest(), space.largest()])))
    middle = [int(np.abs(macs - target).argmin()) for target in np.linspace(low, high, n)[1:-1]]
    return [space.smallest(), *space.architectures(codes[middle]), space.largest()]


@dataclass(frozen=True)
class Trained:
    """A supernet that was trained for a given time.

    Attributes:
        supernet: with the weights of the last step.
        average: the averaged weights, by parameter name; empty without an average.
        epochs: of training.
        cpu_seconds: that it took.
    """

    supernet: Supernet
    average: dict[str, Tensor]
    epochs: float
    cpu_seconds: float


def train_for(
    space: SearchSpace,
    task: ImageClassification,
    config: TrainingConfig,
    cpu_seconds: float,
    largest_share: float = 0.0,
    seed: int = 0,
) -> Trained:
    """Train a supernet for about `cpu_seconds` of this process.

    The time of a step is measured first, and the number of epochs chosen by it, so that the learning rate comes down
    to zero at the end of the time.

    Args:
        config: its `epochs` are replaced.
        largest_share: share of the time that a first phase on the largest network gets.
        seed: of weights, images and paths.
    """
    torch.manual_seed(seed)
    supernet = space.build_supernet()
    later = cpu_seconds * (1 - largest_share) / step_seconds(supernet, task, _strategy(config), config)
    first = round(cpu_seconds * largest_share / step_seconds(supernet, task, _strategy(config, 10**9), config))
    epochs = (first + later) / task.steps_per_epoch(config.batch_size)
    strategy = _strategy(config, first)
    last: dict[str, Tensor] = {}

    def keep(step: int, total: int, text: str = "", /) -> None:
        if step == total:
            last.update(deepcopy(supernet.state_dict()))

    full = config.model_copy(update={"epochs": epochs, "checkpoint_seconds": 1e9})
    trainer = Trainer(supernet, task, strategy, full, seed, NOWHERE)
    started = time.process_time()
    trainer.run(keep)
    took = time.process_time() - started
    average = trainer.average.tensors if trainer.average else {}
    supernet.load_state_dict(last)
    return Trained(supernet, average, epochs, took)


def train_alone(
    space: SearchSpace,
    task: ImageClassification,
    architecture: Architecture,
    config: TrainingConfig,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> torch.nn.Sequential:
    """A static network trained from scratch on the labels for the epochs of `config`, on images of its own resolution;
    goes on at `checkpoint`."""
    torch.manual_seed(seed)
    network = space.build(architecture)
    kept = config if checkpoint else config.model_copy(update={"checkpoint_seconds": 1e9})
    Trainer(resized(space, network, architecture), task, Alone(), kept, seed, checkpoint or NOWHERE).run()
    return network


def resized(space: SearchSpace, network: torch.nn.Module, architecture: Architecture) -> Resized:
    """`network`, given images of the size of `architecture` whatever the size of those of the data set."""
    return Resized(network, space.input_shapes(architecture)[space.input_name][2:])


def step_seconds(
    network: Network, task: ImageClassification, strategy: Strategy[Network], config: TrainingConfig
) -> float:
    """CPU seconds of one step on a copy of `network`: the mean of some, after two to warm up."""
    steps = task.steps_per_epoch(config.batch_size)
    short = config.model_copy(update={"epochs": (_PROBE + 2) / steps, "checkpoint_seconds": 1e9})
    marks: list[float] = []
    trainer = Trainer(deepcopy(network), task, strategy, short, 0, NOWHERE)
    trainer.run(lambda *_: marks.append(time.process_time()))
    return (marks[-1] - marks[1]) / (len(marks) - 2)


def accuracies(evaluator: Evaluator, architectures: list[Architecture]) -> list[float]:
    """Validation accuracies with the weights that the supernet now has, 0..1."""
    return [evaluator.evaluate(architecture) for architecture in architectures]


def _strategy(config: TrainingConfig, largest_steps: int = 0) -> Strategy[Supernet]:
    return make_strategy(config.strategy.name, config.strategy.options, largest_steps)
