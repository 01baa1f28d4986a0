"""The sandwich rule with in-place distillation (Yu and Huang, ICCV 2019; BigNAS, Yu et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nas.training.distillation import StudentLoss
from nas.training.paths import UniformPaths
from nas.training.strategy import Step, Strategy
from search_spaces import Architecture
from search_spaces.space import Codes
from search_spaces.supernet import Supernet


class Sandwich(Strategy[Supernet]):
    """Each step trains the largest network on the labels, then the smallest and some sampled ones on its outputs.

    Args:
        random_paths: how many sampled networks each step trains.
        distillation: `soft` targets, or `alpha` for AlphaNet's clipped divergence.
        distillation_weight: share of the distillation in the loss of the smaller networks; the labels have the rest.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        random_paths: int = 1,
        distillation: str = "soft",
        distillation_weight: float = 1.0,
    ) -> None:
        if random_paths < 0:
            raise ValueError(f"random_paths is {random_paths}, give 0 or more")
        self.random_paths, self.student_loss = random_paths, StudentLoss(distillation, distillation_weight)
        self.sampler = UniformPaths()
        self._drawn: Codes | None = None

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        space = network.space
        network.activate(space.largest())
        teacher = step.forward_largest(network, inputs)
        largest = step.loss(teacher, target)
        largest.backward()
        teacher = teacher.detach()
        codes = self.sampler.sample(space, self.random_paths, step.rng)
        losses = {"largest": largest.item()}
        losses["smallest"] = self._student(network, space.smallest(), inputs, target, teacher, step)
        found = [self._student(network, path, inputs, target, teacher, step) for path in space.architectures(codes)]
        self._drawn = codes
        return losses | {f"random{i + 1}": value for i, value in enumerate(found)}

    def _student(
        self, network: Supernet, path: Architecture, inputs: Tensor, target: Tensor, teacher: Tensor, step: Step
    ) -> float:
        network.activate(path)
        logits = network(inputs)
        loss = self.student_loss(logits, teacher, target, step.loss)
        loss.backward()
        return float(loss.item())

    def observe(self, network: Supernet, losses: Mapping[str, float]) -> None:
        if self._drawn is not None:
            found = [losses[f"random{i + 1}"] for i in range(len(self._drawn))]
            self.sampler.observe(network.space, self._drawn, found)

    def state(self) -> dict[str, Any]:
        return self.sampler.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.sampler.restore(state)
