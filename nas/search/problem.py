"""What is searched for: the space, the objectives and the limits, as functions of many candidates at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nas.search.limits import Limit, cheap_violation
from nas.search.metrics import Metric, find
from search_spaces import SearchSpace
from search_spaces.space import Codes

Violation = Callable[[Codes], NDArray[np.float64]]


@dataclass(frozen=True)
class Problem:
    """A search problem.

    Attributes:
        space: of the candidates.
        objectives: in the order of the study's values; those without `values` are known only by evaluation.
        violation: of many candidates, shape (n,); zero where all limits that are known without evaluation are kept.
        goals: limits on objectives that are known only by evaluation, such as `accuracy >= 0.9`.
    """

    space: SearchSpace
    objectives: tuple[Metric, ...]
    violation: Violation
    goals: tuple[Limit, ...] = ()

    @classmethod
    def of(
        cls, space: SearchSpace, objectives: Sequence[Metric], metrics: Sequence[Metric], limits: Sequence[Limit]
    ) -> Problem:
        """The problem of optimising `objectives` within `limits` on `metrics`."""
        violation = partial(cheap_violation, tuple(limits), tuple(metrics))
        goals = tuple(limit for limit in limits if find(limit.metric, metrics).values is None)
        return cls(space, tuple(objectives), violation, goals)

    @property
    def signs(self) -> NDArray[np.float64]:
        """Factor of each objective that makes less better, shape (objectives,)."""
        return np.array([1.0 if metric.direction == "minimize" else -1.0 for metric in self.objectives])

    def goals_missed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the goals of how far evaluated networks are from them; zero where all are reached.

        Args:
            values: of the objectives, shape (n, objectives); a goal on something else does not count.

        Returns:
            Shape (n,), in the units of the metrics.
        """
        columns = {metric.name: values[:, column] for column, metric in enumerate(self.objectives)}
        missed = np.zeros(len(values))
        for goal in self.goals:
            if goal.metric in columns:
                missed += np.maximum(0.0, goal.sign * (columns[goal.metric] - goal.value))
        return missed
