"""A first phase on the largest network alone, before any other strategy."""

from __future__ import annotations

from torch import Tensor

from nas.training.strategies.first_phase import FirstPhase
from nas.training.strategy import Step
from search_spaces.reordering import Reordering
from search_spaces.supernet import Supernet


class LargestFirst(FirstPhase):
    """Trains the largest network on the labels, then sorts its channels by importance and goes on with `then`.

    Once-for-all (Cai et al., ICLR 2020) begins like this. The outputs of the largest network do not change when its
    channels are sorted, and the smaller networks begin with its most important ones.
    """

    def prepare(self, network: Supernet, step: Step) -> list[Reordering]:
        moved = network.sort_channels() if step.number == self.steps else []
        return moved + super().prepare(network, step)

    def first(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        network.activate(network.space.largest())
        loss = step.loss(step.forward_largest(network, inputs), target)
        loss.backward()
        return {"largest": loss.item()}
