"""The sampler: Optuna's NSGA-II, without duplicates and without candidates that miss a cheap limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.search.feasibility import all_codes, least_violation
from search_spaces import SearchSpace
from search_spaces.space import Codes

Violation = Callable[[Codes], NDArray[np.float64]]

#: Spaces up to this size are gone through before they are called exhausted.
ENUMERABLE = 100_000


class SpaceExhausted(RuntimeError):
    """No architecture was found that keeps the cheap limits and was not proposed before.

    In a space of at most `ENUMERABLE` architectures there is none; in a larger one a long search found none.
    """


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Optuna's description of the space's choices."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in space.choices}


def trial_codes(space: SearchSpace, params: Mapping[str, Any]) -> Codes:
    """Canonical codes, shape (1, number of choices), of a trial's parameters."""
    row = [choice.index(params[choice.name]) for choice in space.choices]
    return space.canonical(np.array([row], dtype=np.int64))


class UniqueNSGAIISampler(BaseSampler):
    """Proposals of NSGA-II (Deb et al., 2002; Optuna's implementation), repaired.

    A proposal that was made before, or that misses a limit known without evaluation, is mutated, and pulled towards
    the architecture that violates the limits least, until it is new and keeps them. The first two proposals are the
    smallest and the largest architecture.

    Every proposal is a pure function of the study's content, the seed and the trial's number, so that a study which
    was killed and is resumed by one worker gets the same trials as an undisturbed one.

    Args:
        space: the search space.
        violation: of many candidates, shape (n,); zero where all cheap limits are kept.
        population: size of NSGA-II's population.
        seed: of all random draws.
    """

    def __init__(self, space: SearchSpace, violation: Violation, population: int, seed: int) -> None:
        self.space, self.violation, self.population, self.seed = space, violation, population, seed
        self._distributions = distributions(space)
        self._anchor = least_violation(space, violation, seed)
        self._known: dict[int, bytes] = {}
        self._feasible: Codes | None = None

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
        proposal = self._proposal(study, trial, rng)
        seen = self._seen(study, trial)
        return self.space.architectures(self._repaired(proposal, seen, rng))[0].values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Not used: all choices are sampled together."""
        raise RuntimeError(f"{param_name!r} is not a choice of space {self.space.name!r}")

    def _proposal(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Codes:
        genetic = NSGAIISampler(population_size=self.population, seed=int(rng.integers(2**31)))
        # Asked twice, here and by sample_relative: the first answer has another order than the stored one that a
        # resumed run would see.
        genetic.get_parent_population(study, genetic.get_trial_generation(study, trial))
        elastic: dict[str, BaseDistribution] = {n: d for n, d in self._distributions.items() if not d.single()}
        params = genetic.sample_relative(study, trial, elastic)
        ends = (self.space.smallest(), self.space.largest())
        if trial.number < len(ends):
            return self.space.codes([ends[trial.number]])
        codes = self.space.random_codes(1, rng) if not params else np.zeros((1, len(self.space.choices)), np.int64)
        for column, choice in enumerate(self.space.choices):
            if choice.name in params:
                codes[0, column] = choice.index(params[choice.name])
            elif params:  # left out by NSGA-II: to be mutated
                codes[0, column] = rng.integers(len(choice.options))
        return self.space.canonical(codes)

    def _seen(self, study: Study, current: FrozenTrial) -> set[bytes]:
        for trial in study.get_trials(deepcopy=False):
            complete = len(trial.params) == len(self._distributions)
            if trial.number not in self._known and trial.number != current.number and complete:
                self._known[trial.number] = trial_codes(self.space, trial.params).tobytes()
        return {key for number, key in self._known.items() if number != current.number}

    def _repaired(self, proposal: Codes, seen: set[bytes], rng: np.random.Generator) -> Codes:
        candidates = proposal
        rates = np.linspace(1.0, 0.5 * len(self.space.choices), 40) / len(self.space.choices)
        for rate in (0.0, *rates):
            if rate:
                parents = np.repeat(proposal, 128, axis=0)
                pulled = self.space.crossover(parents, np.repeat(self._anchor, 128, axis=0), rng)
                half = self.space.mutate(parents[:64], rate, rng), self.space.mutate(pulled[:64], rate, rng)
                candidates = np.concatenate(half)
            for row in np.flatnonzero(self.violation(candidates) <= 0):
                if candidates[row].tobytes() not in seen:
                    return candidates[row : row + 1]
            # Far from the feasible region even mutants of a crossover miss it: go to the anchor step by step.
            if rate and not (self.violation(proposal) <= 0).all():
                proposal = self.space.crossover(proposal, self._anchor, rng)
        return self._left_over(seen, rng)

    def _left_over(self, seen: set[bytes], rng: np.random.Generator) -> Codes:
        """One of the architectures that mutation did not reach."""
        if self.space.size <= ENUMERABLE:
            if self._feasible is None:
                codes = all_codes(self.space)
                self._feasible = codes[self.violation(codes) <= 0]
            for row in rng.permutation(len(self._feasible)):
                if self._feasible[row].tobytes() not in seen:
                    return self._feasible[row : row + 1]
        raise SpaceExhausted("no architecture was found that keeps the limits and was not evaluated before")
