"""Searches whose evaluations cost nothing, of small spaces without networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import Trial, TrialState

from nas.search.encoding import distributions, trial_codes
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY, Metric
from nas.search.problem import Problem, Violation
from nas.search.queue import refill
from nas.search.samplers.batch import BatchSampler
from nas.search.samplers.unique import UniqueSampler
from search_spaces import SearchSpace
from search_spaces.space import Choice, Codes

Values = NDArray[np.float64]
TrialRow = tuple[int, str, dict[str, Any], list[float] | None]
Draw = Callable[[int, np.random.Generator], NDArray[Any]]


def anything(codes: Codes) -> Values:
    """No limits."""
    return np.zeros(len(codes))


def made_up_space() -> SearchSpace:
    """1,872 networks, the second stage of which can have a further block; one choice has a single option."""
    return SearchSpace(
        "made-up",
        (
            Choice("width", (8, 16, 24)),
            Choice("resolution", (32,)),
            Choice("kernel1", (3, 5, 7, 9)),
            Choice("kind1", ("plain", "grouped", "bottleneck"), ordered=False),
            Choice("depth", (1, 2)),
            Choice("kernel2", (3, 5, 7, 9)),
            Choice("kind2", ("plain", "grouped", "bottleneck"), requires=("depth", (2,)), ordered=False),
            Choice("expansion2", (2, 3, 4, 6), requires=("depth", (2,))),
        ),
        (),
    )


def tiny_space() -> SearchSpace:
    """14 networks, of which a search leaves none out."""
    return SearchSpace(
        "tiny", (Choice("a", (1, 2)), Choice("b", (1, 2, 3)), Choice("c", (1, 2, 3), requires=("b", (2, 3)))), ()
    )


def single_space() -> SearchSpace:
    """One network."""
    return SearchSpace("single", (Choice("a", (1,)), Choice("b", (1,))), ())


@dataclass(frozen=True)
class MadeUp:
    """Objectives of the networks of any space: each option of a choice that has an effect has a gain and a cost.

    Attributes:
        space: of the networks.
    """

    space: SearchSpace

    def accuracy(self, codes: Codes) -> Values:
        """Shape (n,), 0 to 1."""
        total = self._sum(codes, lambda size, rng: np.sqrt(np.arange(size)) + rng.standard_normal(size), 1)
        return np.asarray(1 / (1 + np.exp(-total / 4)))

    def cost(self, codes: Codes) -> Values:
        """Shape (n,): more for later options."""
        return 1 + self._sum(codes, lambda size, rng: rng.uniform(0.5, 2) * np.arange(size), 2)

    def memory(self, codes: Codes) -> Values:
        """Shape (n,): options in another order than that of the cost."""
        return 1 + self._sum(codes, lambda size, rng: rng.permutation(size), 3)

    def _sum(self, codes: Codes, draw: Draw, seed: int) -> Values:
        rng = np.random.default_rng(seed)
        active = self.space.active(codes)
        tables = [draw(len(choice.options), rng) for choice in self.space.choices]
        parts = [active[:, column] * table[codes[:, column]] for column, table in enumerate(tables)]
        return np.asarray(sum(parts, np.zeros(len(codes))), dtype=np.float64)

    def metrics(self, objectives: int) -> tuple[Metric, ...]:
        """Accuracy, which is evaluated, and one or two cheap ones."""
        cheap = Metric("cost", "minimize", "", self.cost), Metric("memory", "minimize", "", self.memory)
        return (ACCURACY, *cheap)[:objectives]

    def values(self, codes: Codes, objectives: int) -> list[float]:
        """All objectives of one network."""
        return [float(f(codes)[0]) for f in (self.accuracy, self.cost, self.memory)[:objectives]]


@dataclass(frozen=True)
class Search:
    """A study that is gone on with by a new sampler as often as one likes.

    Attributes:
        study: in memory.
        problem: that is searched.
    """

    study: Study
    problem: Problem

    @classmethod
    def begin(
        cls, space: SearchSpace, violation: Violation = anything, goals: Sequence[Limit] = (), objectives: int = 2
    ) -> Search:
        """One without trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        metrics = MadeUp(space).metrics(objectives)
        study = optuna.create_study(directions=[metric.direction for metric in metrics])
        return cls(study, Problem(space, metrics, violation, tuple(goals)))

    def ask(self, sampler: UniqueSampler) -> Trial:
        """A running trial, as a worker takes it."""
        self.study.sampler = sampler
        if isinstance(sampler, BatchSampler):
            refill(self.study, sampler, self.study.get_trials(deepcopy=False))
        trial = self.study.ask()
        wanted = distributions(self.problem.space)
        if len(trial.params) < len(wanted):
            trial.relative_params  # noqa: B018 - samples; Optuna would not ask for choices with a single option
        for name, distribution in wanted.items():
            trial.suggest_categorical(name, distribution.choices)
        return trial

    def run(self, sampler: UniqueSampler, n: int) -> Codes:
        """Evaluate `n` more networks, or all that there are; gives the codes of all that were evaluated."""
        for _ in range(n):
            trial = self.ask(sampler)
            codes = trial_codes(self.problem.space, trial.params)
            values = MadeUp(self.problem.space).values(codes, len(self.problem.objectives))
            for goal in self.problem.goals:
                trial.set_constraint(str(goal), goal.violation(values[0]))
            self.study.tell(trial, values)
        return self.evaluated()

    def evaluated(self) -> Codes:
        """Codes of the evaluated networks."""
        space = self.problem.space
        trials = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        empty = np.zeros((0, len(space.choices)), dtype=np.int64)
        return np.concatenate([empty, *(trial_codes(space, trial.params) for trial in trials)])

    def table(self) -> list[TrialRow]:
        """All that a resumed search must repeat exactly."""
        trials = self.study.get_trials(deepcopy=False)
        return [(trial.number, trial.state.name, trial.params, trial.values) for trial in trials]
