"""A first phase on the largest network alone, before any other strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nas.training.strategy import Cost, Step, Strategy
from search_spaces import SearchSpace
from search_spaces.reordering import Reordering
from search_spaces.space import Codes
from search_spaces.supernet import Supernet


class LargestFirst(Strategy[Supernet]):
    """Trains the largest network on the labels, then sorts its channels by importance and goes on with `then`.

    Once-for-all (Cai et al., ICLR 2020) begins like this. The outputs of the largest network do not change when its
    channels are sorted, and the smaller networks begin with its most important ones.

    Args:
        then: trains from then on.
        steps: optimiser steps of the first phase.
    """

    def __init__(self, then: Strategy[Supernet], steps: int) -> None:
        self.then, self.steps = then, steps

    @property
    def needs_costs(self) -> bool:
        return self.then.needs_costs

    def bind(self, costs: Mapping[str, Cost], space: SearchSpace) -> None:
        self.then.bind(costs, space)

    def parameters(self) -> list[nn.Parameter]:
        return self.then.parameters()

    def chosen(self, space: SearchSpace) -> Codes | None:
        return self.then.chosen(space)

    def prepare(self, network: Supernet, step: Step) -> list[Reordering]:
        if step.number < self.steps:
            return []
        moved = network.sort_channels() if step.number == self.steps else []
        return moved + self.then.prepare(network, step)

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        if step.number >= self.steps:
            return self.then.step(network, inputs, target, step)
        network.activate(network.space.largest())
        loss = step.loss(step.forward_largest(network, inputs), target)
        loss.backward()
        return {"largest": loss.item()}

    def observe(self, network: Supernet, losses: Mapping[str, float]) -> None:
        self.then.observe(network, losses)

    def state(self) -> dict[str, Any]:
        return self.then.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.then.restore(state)
