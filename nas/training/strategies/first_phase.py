"""A phase of training before another strategy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from nas.training.strategy import Cost, Step, Strategy
from search_spaces import SearchSpace
from search_spaces.reordering import Reordering
from search_spaces.space import Codes
from search_spaces.supernet import Supernet


class FirstPhase(Strategy[Supernet]):
    """The first steps of a training; all that is not of these is left to the strategy after them.

    Args:
        then: trains from then on.
        steps: the number of the first step that is `then`'s.
    """

    def __init__(self, then: Strategy[Supernet], steps: int) -> None:
        self.then, self.steps = then, steps

    @abstractmethod
    def first(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        """What `step` does in this phase."""

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
        return [] if step.number < self.steps else self.then.prepare(network, step)

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        phase = self.first if step.number < self.steps else self.then.step
        return phase(network, inputs, target, step)

    def observe(self, network: Supernet, losses: Mapping[str, float]) -> None:
        self.then.observe(network, losses)

    def state(self) -> dict[str, Any]:
        return self.then.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.then.restore(state)
