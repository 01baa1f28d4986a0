"""What all samplers have in common: no duplicates, and no candidates that miss a limit known without evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.search.encoding import distributions, trial_codes
from nas.search.feasibility import all_codes, least_violation
from nas.search.problem import Problem
from search_spaces.space import Codes

#: Spaces up to this size are gone through before they are called exhausted.
ENUMERABLE = 100_000


class SpaceExhausted(RuntimeError):
    """No architecture was found that keeps the cheap limits and was not proposed before.

    In a space of at most `ENUMERABLE` architectures there is none; in a larger one a long search found none.
    """


class UniqueSampler(BaseSampler, ABC):
    """Proposals that are repaired.

    A proposal that was made before, or that misses a limit known without evaluation, is mutated, and pulled towards
    the architecture that violates the limits least, until it is new and keeps them.

    Every proposal is a pure function of the study's content, the seed and the trial's number, so that a study which
    was killed and is resumed by one worker gets the same trials as an undisturbed one.

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.

    Attributes:
        batch_size: evaluations that are a batch where batches are counted.
    """

    batch_size: int = 10

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.space, self.seed = problem, problem.space, seed
        self._distributions = distributions(problem.space)
        self._anchor = least_violation(problem.space, problem.violation, seed)
        self._known: dict[int, bytes] = {}
        self._feasible: Codes | None = None

    @abstractmethod
    def proposal(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Codes:
        """Canonical codes, shape (1, choices), of what should be evaluated in `trial`; repaired afterwards."""

    def known_attributes(self) -> dict[str, Any]:
        """System attributes with which a trial that another study evaluated is one of this sampler's."""
        return {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All choices of the space."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A new architecture that keeps the cheap limits, as values of all choices.

        Raises:
            SpaceExhausted: when none is left.
        """
        rng = np.random.default_rng([self.seed, trial.number])
        proposal = self.proposal(study, trial, rng)
        seen = self._seen(study, trial)
        return self.space.architectures(self._repaired(proposal, seen, rng))[0].values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Not used: all choices are sampled together."""
        raise RuntimeError(f"{param_name!r} is not a choice of space {self.space.name!r}")

    def _seen(self, study: Study, current: FrozenTrial) -> set[bytes]:
        for trial in study.get_trials(deepcopy=False):
            complete = len(trial.params) == len(self._distributions)
            if trial.number not in self._known and trial.number != current.number and complete:
                self._known[trial.number] = trial_codes(self.space, trial.params).tobytes()
        return {key for number, key in self._known.items() if number != current.number}

    def repaired(self, proposals: Codes, seen: set[bytes], rng: np.random.Generator) -> Codes:
        """New networks near `proposals` that keep the cheap limits; fewer rows when no more are left.

        Raises:
            SpaceExhausted: when there is none.
        """
        taken, rows = set(seen), []
        try:
            for proposal in proposals:
                rows.append(self._repaired(proposal[None], taken, rng))
                taken.add(rows[-1].tobytes())
        except SpaceExhausted:
            if not rows:
                raise
        return np.concatenate(rows)

    def _repaired(self, proposal: Codes, seen: set[bytes], rng: np.random.Generator) -> Codes:
        candidates = proposal
        rates = np.linspace(1.0, 0.5 * len(self.space.choices), 40) / len(self.space.choices)
        for rate in (0.0, *rates):
            if rate:
                parents = np.repeat(proposal, 128, axis=0)
                pulled = self.space.crossover(parents, np.repeat(self._anchor, 128, axis=0), rng)
                half = self.space.mutate(parents[:64], rate, rng), self.space.mutate(pulled[:64], rate, rng)
                candidates = np.concatenate(half)
            for row in np.flatnonzero(self.problem.violation(candidates) <= 0):
                if candidates[row].tobytes() not in seen:
                    return candidates[row : row + 1]
            # Far from the feasible region even mutants of a crossover miss it: go to the anchor step by step.
            if rate and not (self.problem.violation(proposal) <= 0).all():
                proposal = self.space.crossover(proposal, self._anchor, rng)
        return self._left_over(seen, rng)

    def _left_over(self, seen: set[bytes], rng: np.random.Generator) -> Codes:
        """One of the architectures that mutation did not reach."""
        if self.space.size <= ENUMERABLE:
            if self._feasible is None:
                codes = all_codes(self.space)
                self._feasible = codes[self.problem.violation(codes) <= 0]
            for row in rng.permutation(len(self._feasible)):
                if self._feasible[row].tobytes() not in seen:
                    return self._feasible[row : row + 1]
        raise SpaceExhausted("no architecture was found that keeps the limits and was not evaluated before")
