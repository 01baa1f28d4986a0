"""Evaluating networks that read tokens, on as many metrics as their task has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.search.evaluators import NetworkEvaluator
from nas.tasks import Split
from nas.tasks.task import Batches, Scores, TaskMetric
from search_spaces import Architecture
from search_spaces.supernet import Supernet

#: Sequences of a batch: few, since logits are as many numbers as there are tokens times entries of the vocabulary.
BATCH_SIZE = 16


class Judge(Protocol):
    """The part of a task that evaluations need; `nas.tasks.Task` says what each attribute is."""

    @property
    def metrics(self) -> tuple[TaskMetric, ...]:
        """What `score` knows."""

    def evaluation_batches(self, metric: str, split: Split, batch_size: int) -> Batches:
        """The samples on which a metric is taken."""

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Training samples, the same ones on every call with the same seed."""

    def score(self, metric: str, logits: Tensor, target: Tensor) -> Scores:
        """What each sample of a batch adds to the metric."""


class SequenceEvaluator(NetworkEvaluator[Judge]):
    """Evaluates every metric of a task on its own samples, which are made once and kept.

    Args:
        supernet: trained weights.
        task: gives the samples, and says what each adds to a metric.
        recalibration_samples: how many, for networks with batch normalisation.
        seed: picks them.
        batch_size: sequences of a batch.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Judge,
        recalibration_samples: int = 500,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(supernet, task)
        self.recalibration_samples, self.seed, self.batch_size = recalibration_samples, seed, batch_size
        self._kept: dict[tuple[str, Split], list[tuple[Tensor, Tensor]]] = {}

    def _recalibration_inputs(self, architecture: Architecture) -> Iterator[Tensor]:
        for inputs, _ in self.task.recalibration_batches(self.recalibration_samples, self.batch_size, self.seed):
            yield inputs

    def figures(
        self, network: nn.Module, architecture: Architecture, split: Split = "validation"
    ) -> Mapping[str, float]:
        """As for `NetworkEvaluator`."""
        if network.training:
            raise ValueError("a network is judged in evaluation mode; call eval() on it first")
        return {
            metric.name: figure(self.task, metric.name, self.batches(metric.name, split), network)
            for metric in self.task.metrics
        }

    def batches(self, metric: str, split: Split = "validation") -> list[tuple[Tensor, Tensor]]:
        """What a metric is taken on, made once."""
        if (metric, split) not in self._kept:
            self._kept[metric, split] = list(self.task.evaluation_batches(metric, split, self.batch_size))
        return self._kept[metric, split]


@torch.inference_mode()
def figure(
    task: Judge, metric: str, batches: Iterable[tuple[Tensor, Tensor]], logits: Callable[[Tensor], Tensor]
) -> float:
    """A metric of a network on some of its samples.

    Args:
        task: says what each sample adds to the metric.
        metric: its name.
        batches: of inputs and targets.
        logits: of inputs.
    """
    total = count = 0.0
    for inputs, target in batches:
        scores = task.score(metric, logits(inputs), target)
        total, count = total + float(scores.total.sum()), count + float(scores.count.sum())
    return total / count
