"""Training of one static network: from scratch, or fine-tuned with a teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.training.distillation import StudentLoss
from nas.training.strategy import Step, Strategy


class Alone(Strategy[nn.Module]):
    """Trains one static network on the labels and, when there is a teacher, on its outputs.

    Args:
        teacher: a network in evaluation mode; it is not changed.
        distillation_weight: share of the teacher in the loss; the labels have the rest.

    Raises:
        ValueError: when the weight is out of its range.
    """

    def __init__(self, teacher: nn.Module | None = None, distillation_weight: float = 0.5) -> None:
        self.teacher, self.student_loss = teacher, StudentLoss("soft", distillation_weight)

    def step(self, network: nn.Module, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        logits = network(inputs)
        if self.teacher is None:
            loss = step.loss(logits, target)
        else:
            with torch.no_grad():
                taught = self.teacher(inputs)
            loss = self.student_loss(logits, taught, target, step.loss)
        loss.backward()
        return {"network": loss.item()}
