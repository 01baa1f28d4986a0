"""Regularized evolution: ageing instead of selection of survivors."""

from __future__ import annotations

import numpy as np

from nas.search.pareto import crowding, layers
from nas.search.problem import Problem
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.exchanges import exchanges
from search_spaces.space import Codes


class RegularizedEvolution(BatchSampler):
    """The latest networks are the population; the best of a random few of them has a child (Real et al., AAAI 2019).

    Of several objectives, the best one has the lowest layer of non-dominated networks in the population, as in Syne
    Tune's multi-objective form (Salinas et al., AutoML-Conf 2022), and of those the largest crowding distance; the one that misses the goals least
    comes before all others (both Deb et al., 2002).

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
        codes, values = history.codes[-self.population :], history.values[-self.population :]
        missed, costs = self.problem.goals_missed(values), values * self.problem.signs
        layer = layers(costs)
        crowded = np.zeros(len(costs))
        for number in np.unique(layer):
            crowded[layer == number] = -crowding(costs[layer == number])
        rivals = rng.choice(self.population, self.tournament, replace=False)
        best = rivals[np.lexsort((crowded[rivals], layer[rivals], missed[rivals]))[0]]
        neighbours = exchanges(self.space, codes[best][None], rng)
        return neighbours[[rng.integers(len(neighbours))]] if len(neighbours) else codes[best][None]
