"""A first phase in which mixers learn from attention, before any other strategy."""

from __future__ import annotations

from torch import Tensor

from nas.training.mixer_distillation import Lessons
from nas.training.strategies.first_phase import FirstPhase
from nas.training.strategy import Step, Strategy
from search_spaces.supernet import Supernet


class MixersFirst(FirstPhase):
    """Trains the mixers that are not attention to give what attention gives, layer by layer, and goes on with `then`.

    No other weights change, so the largest network stays what it was; labels are not looked at.

    Args:
        then: trains from then on.
        steps: the number of the first step that is `then`'s.
        lessons: of the space.
    """

    def __init__(self, then: Strategy[Supernet], steps: int, lessons: Lessons) -> None:
        super().__init__(then, steps)
        self.lessons = lessons

    def first(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        return {"mixers": self.lessons.teach(network, inputs, step.rng)}
