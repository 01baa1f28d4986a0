"""Which evaluator suits a task."""

from __future__ import annotations

from typing import Any

from nas.search.evaluation import Evaluator
from nas.search.evaluators import NetworkEvaluator
from nas.search.sequence_evaluation import SequenceEvaluator
from nas.tasks import ImageClassification, Task
from search_spaces.supernet import Supernet


def make_evaluator(
    supernet: Supernet, task: Task, recalibration_samples: int = 500, seed: int = 0
) -> NetworkEvaluator[Any]:
    """What evaluates networks on a task.

    Args:
        supernet: trained weights.
        task: what networks are judged on.
        recalibration_samples: training samples for networks with batch normalisation.
        seed: picks them.
    """
    if isinstance(task, ImageClassification):
        return Evaluator(supernet, task, recalibration_samples, seed=seed)
    return SequenceEvaluator(supernet, task, recalibration_samples, seed)
