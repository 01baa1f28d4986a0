"""Regularized evolution: ageing instead of selection of survivors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.search.problem import Problem
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.exchanges import exchanges
from search_spaces.space import Codes

#: Weight of the sum beside the largest term, as in ParEGO.
SUM = 0.05


class RegularizedEvolution(BatchSampler):
    """The latest networks are the population; the best of a random few of them has a child (Real et al., AAAI 2019).

    Which one is the best of several objectives a random scalarisation decides, another one for each child: the
    augmented Tchebycheff norm of ParEGO (Knowles, IEEE TEVC 2006), the objectives scaled to the population's range.
    Before that, the one that misses the goals least is the best (Deb et al., 2002).

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.
        batch_size: networks of a batch.
        population: how many networks, at first random ones.
        tournament: how many of them are compared.
    """

    def __init__(
        self, problem: Problem, seed: int, batch_size: int = 10, population: int = 50, tournament: int = 10
    ) -> None:
        super().__init__(problem, seed, batch_size)
        if not 1 <= tournament <= population:
            raise ValueError(f"tournament is between 1 and the population {population}, not {tournament}")
        self.population, self.tournament = population, tournament

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """`n` children; random networks until there is a population."""
        if len(history.codes) < self.population:
            codes, source = self.space.random_codes(n, rng), "random"
        else:
            codes, source = np.concatenate([self._child(history, rng) for _ in range(n)]), "child"
        codes = self.repaired(codes, history.seen, rng)
        return Batch(codes, [{"source": source} for _ in codes])

    def _child(self, history: History, rng: np.random.Generator) -> Codes:
        codes, values = history.codes[-self.population :], history.values[-self.population :] * self.problem.signs
        missed = self.problem.goals_missed(history.values[-self.population :])
        rivals = rng.choice(self.population, self.tournament, replace=False)
        weights = rng.dirichlet(np.ones(values.shape[1]))
        costs = _scalarised(values, weights)
        best = min(rivals, key=lambda row: (missed[row], costs[row]))
        neighbours = exchanges(self.space, codes[best][None], rng)
        return neighbours[[rng.integers(len(neighbours))]] if len(neighbours) else codes[best][None]


def _scalarised(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Augmented Tchebycheff norm of values that are to be minimised, shape (n,)."""
    low, high = values.min(axis=0), values.max(axis=0)
    terms = weights * (values - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(terms.max(axis=1) + SUM * terms.sum(axis=1))
