"""What sequences add to the metrics of language modelling."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from nas.tasks.task import Scores, TaskMetric
from nas.tasks.token_sequences import NOT_JUDGED

BITS_PER_BYTE = TaskMetric("bits_per_byte", "minimize", "bits")
RECALL = TaskMetric("recall", "maximize")


def scores(metric: str, logits: Tensor, target: Tensor, byte_counts: Tensor) -> Scores:
    """Right and all answers of each sequence for ``recall``, else bits and bytes.

    Args:
        metric: one of the two.
        logits: (n, t, vocabulary).
        target: int64 (n, t); -100 where it is not judged.
        byte_counts: of each token of the vocabulary.
    """
    judged = target != NOT_JUDGED
    if metric == RECALL.name:
        right = (logits.argmax(2) == target) & judged
        return Scores(right.sum(1).double(), judged.sum(1).double())
    nats = F.cross_entropy(logits.float().transpose(1, 2), target, ignore_index=NOT_JUDGED, reduction="none")
    counts = byte_counts.to(target.device)[target.clamp(min=0)] * judged
    return Scores(nats.double().sum(1) / math.log(2), counts.sum(1).double())
