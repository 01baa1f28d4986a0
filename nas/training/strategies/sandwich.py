"""The sandwich rule with in-place distillation (Yu and Huang, ICCV 2019; BigNAS, Yu et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nas.training.distillation import StudentLoss
from nas.training.paths import HomogeneousPaths, UniformPaths
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
        homogeneous_share: of the sampled networks whose layers are alike, see `HomogeneousPaths`.
        balance: whether the loss of each smaller network is scaled to that of the largest one, so that the worst networks
            do not have the largest gradients (AmoebaLLM, Fu et al., NeurIPS 2024).

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        random_paths: int = 1,
        distillation: str = "soft",
        distillation_weight: float = 1.0,
        homogeneous_share: float = 0.0,
        balance: bool = False,
    ) -> None:
        if random_paths < 0:
            raise ValueError(f"random_paths is {random_paths}, give 0 or more")
        self.random_paths, self.student_loss = random_paths, StudentLoss(distillation, distillation_weight)
        self.sampler: UniformPaths = HomogeneousPaths(homogeneous_share)
        self.balance = balance
        self._drawn: Codes | None = None

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        space = network.space
        network.activate(space.largest())
        teacher = step.forward_largest(network, inputs)
        largest = step.loss(teacher, target)
        largest.backward()
        teacher = teacher.detach()
        codes = self.sampler.sample(space, self.random_paths, step.rng)
        students = {"smallest": space.smallest()}
        students |= {f"random{i + 1}": path for i, path in enumerate(space.architectures(codes))}
        losses = {"largest": largest.item()}
        for name, path in students.items():
            loss = self._student(network, path, inputs, target, teacher, step)
            losses[name] = loss.item()
            (loss * (losses["largest"] / losses[name]) if self.balance else loss).backward()
        self._drawn = codes
        return losses

    def _student(
        self, network: Supernet, path: Architecture, inputs: Tensor, target: Tensor, teacher: Tensor, step: Step
    ) -> Tensor:
        network.activate(path)
        return self.student_loss(network(inputs), teacher, target, step.loss)

    def observe(self, network: Supernet, losses: Mapping[str, float]) -> None:
        if self._drawn is not None:
            found = [losses[f"random{i + 1}"] for i in range(len(self._drawn))]
            self.sampler.observe(network.space, self._drawn, found)

    def state(self) -> dict[str, Any]:
        return self.sampler.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.sampler.restore(state)
