"""How far the outputs of a student are from those of its teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

Distillation = Callable[[Tensor, Tensor], Tensor]

#: The target of a token that is not judged, as in torch's cross entropy.
NOT_JUDGED = -100


def soft_targets(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's probabilities as targets (Hinton et al., 2015, temperature 1).

    Args:
        student: logits, shape (n, classes).
        teacher: logits, shape (n, classes); no gradient flows to them.

    Returns:
        The mean over the batch. Its gradient is that of the Kullback-Leibler divergence.
    """
    return F.cross_entropy(student, teacher.detach().float().softmax(1))


def alpha_divergence(
    student: Tensor, teacher: Tensor, alphas: tuple[float, float] = (-1.0, 1.0), clip: float = 5.0
) -> Tensor:
    """The larger of two clipped alpha-divergences, sample for sample (AlphaNet, Wang et al., ICML 2021).

    One `alpha` punishes a student that is sure where its teacher is not, the other the reverse. The ratios of
    probabilities are clipped, so that no sample dominates the gradient.

    Args:
        student: logits q, shape (n, classes).
        teacher: logits p, shape (n, classes); no gradient flows to them.
        alphas: the two orders.
        clip: the largest ratio (p / q) to the power of alpha.

    Returns:
        The mean over the batch. Its gradient is not that of its value: the clipped ratios are held constant in it.
    """
    p = teacher.detach().float().softmax(1)
    log_q = student.float().log_softmax(1)
    (low, low_surrogate), (high, high_surrogate) = (_divergence(p, log_q, alpha, clip) for alpha in alphas)
    surrogate = torch.where(low > high, low_surrogate, high_surrogate)
    return (torch.maximum(low, high) + (surrogate - surrogate.detach())).mean()


def _divergence(p: Tensor, log_q: Tensor, alpha: float, clip: float) -> tuple[Tensor, Tensor]:
    """Per sample, the divergence of order `alpha` (not 0), and a term with its gradient with respect to `log_q`."""
    q = log_q.detach().exp()
    ratio = p / q.clamp(min=torch.finfo(q.dtype).tiny)
    if alpha == 1.0:  # the limit, where the divergence is that of Kullback and Leibler
        value, slope = (p * ratio.clamp(min=torch.finfo(q.dtype).tiny).log()).sum(1), ratio
    else:
        power = ratio.pow(alpha).clamp(max=clip)
        scale = 1.0 / (alpha * (alpha - 1.0))
        value, slope = (q * (power - 1.0) * scale).sum(1), power / alpha + scale
    return value, -(q * slope * log_q).sum(1)


DISTILLATIONS: Mapping[str, Distillation] = MappingProxyType({"soft": soft_targets, "alpha": alpha_divergence})


@dataclass(frozen=True)
class StudentLoss:
    """The loss of a network that has a teacher.

    Attributes:
        distillation: how far it is from its teacher, a key of `DISTILLATIONS`.
        weight: share of the distillation; the labels have the rest.

    Raises:
        ValueError: when one of them is out of its range.
    """

    distillation: str
    weight: float

    def __post_init__(self) -> None:
        if self.distillation not in DISTILLATIONS:
            raise ValueError(f"distillation is {self.distillation!r}, give one of {', '.join(DISTILLATIONS)}")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"distillation_weight is {self.weight}, give a number from 0 to 1")

    def __call__(self, student: Tensor, teacher: Tensor, target: Tensor, labels: Distillation) -> Tensor:
        """The mean over the batch; of sequences over the tokens that have a target.

        Args:
            student: logits, shape (n, classes), or (n, t, vocabulary) of sequences.
            teacher: logits of the same shape; no gradient flows to them.
            target: as `labels` takes it; of sequences int64 (n, t), where tokens with `NOT_JUDGED` do not count.
            labels: maps logits and targets to a scalar.
        """
        loss = self.weight * DISTILLATIONS[self.distillation](*_samples(student, teacher, target))
        return loss if self.weight == 1 else loss + (1 - self.weight) * labels(student, target)


def _samples(student: Tensor, teacher: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The logits as a matrix with a row for each sample: an image, or a token that is judged."""
    if student.dim() == 2:
        return student, teacher
    student, teacher = student.flatten(0, -2), teacher.flatten(0, -2)
    judged = target.flatten() != NOT_JUDGED
    return (student, teacher) if judged.all() else (student[judged], teacher[judged])
