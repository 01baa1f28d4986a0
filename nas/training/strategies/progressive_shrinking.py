"""Progressive shrinking (once-for-all, Cai et al., ICLR 2020): from the largest network to ever smaller ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from torch import Tensor

from nas.training.distillation import StudentLoss
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategy import Step, Strategy
from nas.training.teacher import FrozenTeacher
from search_spaces import SearchSpace
from search_spaces.reordering import Reordering
from search_spaces.space import Codes
from search_spaces.supernet import Supernet

ORDER = (("*_kernel",), ("*_depth",), ("*_expansion", "*_width"))
SHARES = (0.4, 0.2, 0.2, 0.2)


@dataclass(frozen=True)
class Phases:
    """When each phase of progressive shrinking ends, and what is elastic in it.

    Attributes:
        order: for each phase but the first, patterns of the names of the choices that become elastic with it.
        shares: of each phase in the steps, one more than in `order`; only their proportions count.

    Raises:
        ValueError: when an attribute is out of its range.
    """

    order: Sequence[Sequence[str]]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        if any(isinstance(patterns, str) for patterns in self.order):
            raise ValueError(f"order is {self.order!r}, give a list of patterns for each phase")
        if len(self.shares) != len(self.order) + 1:
            raise ValueError(
                f"shares has {len(self.shares)} entries, give {len(self.order) + 1}: one more than in order"
            )
        if min(self.shares) < 0 or self.shares[0] == 0:
            raise ValueError(f"shares is {self.shares}, give numbers from 0 up, the first of them above 0")

    def ends(self, total: int) -> list[int]:
        """For each phase but the last, the first of `total` steps after it; the first phase has a step at least."""
        ends = np.rint(total * np.cumsum(self.shares)[:-1] / sum(self.shares))
        return [max(1, int(end)) for end in ends]

    def draw(self, space: SearchSpace, n: int, step: Step) -> Codes:
        """Canonical codes of `n` networks, uniform over the options of the choices that are elastic at `step`.

        A choice that is not elastic yet has its last option.
        """
        begun = sum(step.number >= end for end in self.ends(step.total))
        options = np.array([len(choice.options) for choice in space.choices])
        codes = step.rng.integers(0, options, size=(n, len(options)))
        fixed = [self._becomes_elastic(choice.name) > begun for choice in space.choices]
        # Only now made canonical: a choice without effect in the draw may have one when what it requires is fixed.
        return space.canonical(np.where(fixed, options - 1, codes))

    def _becomes_elastic(self, name: str) -> int:
        """The phase with which a choice becomes elastic: for one that no pattern matches the first after the largest."""
        matches = (n for n, patterns in enumerate(self.order, 1) if any(fnmatchcase(name, p) for p in patterns))
        return next(matches, 1)


class ProgressiveShrinking(Strategy[Supernet]):
    """First the largest network alone, which from then on teaches; phase by phase more choices become elastic.

    A choice that no pattern matches, such as the resolution, is elastic as soon as the first phase is over. Unlike in
    the paper, one schedule of the learning rate spans all phases.

    Args:
        random_paths: how many networks each step of the later phases trains.
        distillation: `soft` targets, or `alpha` for AlphaNet's clipped divergence.
        distillation_weight: share of the distillation in the loss of the later phases; the labels have the rest.
        order: for each of the later phases, patterns of the names of the choices that become elastic with it.
        shares: of each phase in the steps, one more than in `order`; only their proportions count.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        random_paths: int = 1,
        distillation: str = "soft",
        distillation_weight: float = 0.5,
        order: Sequence[Sequence[str]] = ORDER,
        shares: Sequence[float] = SHARES,
    ) -> None:
        if random_paths < 1:
            raise ValueError(f"random_paths is {random_paths}, give 1 or more")
        self.phases = Phases(order, shares)
        self._later = _Taught(random_paths, StudentLoss(distillation, distillation_weight), self.phases)

    def _now(self, step: Step) -> LargestFirst:
        (first, *_) = (*self.phases.ends(step.total), step.total)
        return LargestFirst(self._later, first)

    def prepare(self, network: Supernet, step: Step) -> list[Reordering]:
        return self._now(step).prepare(network, step)

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        return self._now(step).step(network, inputs, target, step)

    def state(self) -> dict[str, Any]:
        return self._later.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._later.restore(state)


class _Taught(Strategy[Supernet]):
    """Trains networks of the current phase on the labels and on what the largest one was before the first of them."""

    def __init__(self, random_paths: int, student_loss: StudentLoss, phases: Phases) -> None:
        self.random_paths, self.student_loss, self.phases = random_paths, student_loss, phases
        self.teacher = FrozenTeacher()

    def step(self, network: Supernet, inputs: Tensor, target: Tensor, step: Step) -> dict[str, float]:
        taught = self.teacher(network, inputs)
        losses = {}
        codes = self.phases.draw(network.space, self.random_paths, step)
        for i, path in enumerate(network.space.architectures(codes)):
            network.activate(path)
            loss = self.student_loss(network(inputs), taught, target, step.loss)
            loss.backward()
            losses[f"random{i + 1}"] = loss.item()
        return losses

    def state(self) -> dict[str, Any]:
        return self.teacher.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.teacher.restore(state)
