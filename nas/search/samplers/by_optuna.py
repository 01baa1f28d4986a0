"""Optuna's own samplers, repaired: the baselines that everybody has."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.search.problem import Problem
from nas.search.samplers.unique import UniqueSampler
from search_spaces.space import Codes


class _Optuna(UniqueSampler):
    """Proposals of another sampler; the first two are the smallest and the largest architecture."""

    def proposal(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Codes:
        """Those choices that the other sampler leaves out are drawn at random."""
        elastic: dict[str, BaseDistribution] = {n: d for n, d in self._distributions.items() if not d.single()}
        params = self._params(study, trial, elastic, int(rng.integers(2**31)))
        ends = (self.space.smallest(), self.space.largest())
        if trial.number < len(ends):
            return self.space.codes([ends[trial.number]])
        codes = self.space.random_codes(1, rng) if not params else np.zeros((1, len(self.space.choices)), np.int64)
        for column, choice in enumerate(self.space.choices):
            if choice.name in params:
                codes[0, column] = choice.index(params[choice.name])
            elif params:
                codes[0, column] = rng.integers(len(choice.options))
        return self.space.canonical(codes)

    def _params(self, study: Study, trial: FrozenTrial, elastic: dict[str, Any], seed: int) -> dict[str, Any]:
        raise NotImplementedError


class NSGAII(_Optuna):
    """NSGA-II (Deb et al., 2002).

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.
        population: size of a generation.
    """

    def __init__(self, problem: Problem, seed: int, population: int = 20) -> None:
        super().__init__(problem, seed)
        self.population = self.batch_size = population

    def known_attributes(self) -> dict[str, Any]:
        """They are the first generation."""
        return {NSGAIISampler._get_generation_key(): 0}

    def _params(self, study: Study, trial: FrozenTrial, elastic: dict[str, Any], seed: int) -> dict[str, Any]:
        genetic = NSGAIISampler(population_size=self.population, seed=seed)
        # Asked twice, here and by sample_relative: the first answer has another order than the stored one that a
        # resumed run would see.
        genetic.get_parent_population(study, genetic.get_trial_generation(study, trial))
        return genetic.sample_relative(study, trial, elastic)


class TPE(_Optuna):
    """The multivariate tree-structured Parzen estimator (Falkner et al., ICML 2018; Ozaki et al., JAIR 2022)."""

    def _params(self, study: Study, trial: FrozenTrial, elastic: dict[str, Any], seed: int) -> dict[str, Any]:
        return TPESampler(seed=seed, multivariate=True).sample_relative(study, trial, elastic)
