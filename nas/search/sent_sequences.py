"""What evaluations of language models need, on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nas.search.sequence_evaluation import SequenceEvaluator
from nas.search.shared_arrays import shared
from nas.tasks import Split
from nas.tasks.language_modelling import LanguageModelling
from nas.tasks.language_scores import scores
from nas.tasks.task import Batches, DataError, Scores, TaskMetric
from search_spaces.supernet import Supernet

#: Tokens and targets, int64 (n, t) each.
Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class SentSequences:
    """What evaluations need of a task for language modelling.

    Attributes:
        metrics: of the task.
        validation: for each metric, the batches on which it is taken.
        byte_counts: of each token of the vocabulary.
    """

    metrics: tuple[TaskMetric, ...]
    validation: Mapping[str, Sequence[tuple[Tensor, Tensor]]]
    byte_counts: Tensor

    def evaluation_batches(self, metric: str, split: Split, batch_size: int) -> Batches:
        """What was sent; `batch_size` had its effect then.

        Raises:
            DataError: when another split is wanted.
        """
        if split != "validation":
            raise DataError(f"the {split} sequences were not sent")
        return iter(self.validation[metric])

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Asked for by networks with batch normalisation alone, which is one of images.

        Raises:
            DataError: always.
        """
        raise DataError(
            "the training sequences were not sent; set engine to local for networks with batch normalisation"
        )

    def score(self, metric: str, logits: Tensor, target: Tensor) -> Scores:
        """As for `LanguageModelling`."""
        return scores(metric, logits, target, self.byte_counts)


def parts(evaluator: SequenceEvaluator) -> dict[str, Any]:
    """The arguments of `judge`."""
    task = evaluator.task
    assert isinstance(task, LanguageModelling), "others are refused before"
    return {
        "metrics": task.metrics,
        "validation": {
            metric.name: [(tokens.numpy(), target.numpy()) for tokens, target in evaluator.batches(metric.name)]
            for metric in task.metrics
        },
        "byte_counts": task.byte_counts.numpy(),
    }


def judge(
    supernet: Supernet,
    metrics: tuple[TaskMetric, ...],
    validation: Mapping[str, Sequence[Pair]],
    byte_counts: NDArray[np.int64],
) -> SequenceEvaluator:
    """The evaluator that was taken apart.

    Args:
        supernet: trained weights.
        metrics: of the task.
        validation: for each metric, the batches of tokens and targets.
        byte_counts: of each token.
    """
    kept = {name: [(shared(x), shared(y)) for x, y in batches] for name, batches in validation.items()}
    return SequenceEvaluator(supernet, SentSequences(metrics, kept, shared(byte_counts)))
