"""Regularized evolution: ageing instead of selection of survivors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import crowding, layers
from nas.search.problem import Problem
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.exchanges import allowed, exchanges
from search_spaces.space import Codes


class RegularizedEvolution(BatchSampler):
    """The latest networks are the population; the best of a random few of them has a child (Real et al., AAAI 2019).

    Of several objectives, the best one has the lowest layer of non-dominated networks in the population, as in Syne
    Tune's multi-objective form (Salinas et al., AutoML-Conf 2022), and of those the largest crowding distance. The one
    that misses the goals least comes before all others (both Deb et al., IEEE TEVC 2002).

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
        seen = history.seen
        if len(history.codes) < self.population:
            codes = self.repaired(self.space.random_codes(n, rng), seen, rng)
            return Batch(codes, [{"source": "random"} for _ in codes])
        population, places = history.codes[-self.population :], self._places(history)
        children: list[Codes] = []
        for _ in range(n):
            rivals = rng.choice(self.population, self.tournament, replace=False)
            parent = population[[rivals[places[rivals].argmin()]]]
            children.append(self._child(parent, seen, rng))
            seen.add(children[-1].tobytes())
        codes = self.repaired(np.concatenate(children), history.seen, rng)
        return Batch(codes, [{"source": "child"} for _ in codes])

    def _places(self, history: History) -> NDArray[np.int64]:
        """Of each member of the population, from the oldest to the youngest: 0 for the best."""
        values = history.values[-self.population :]
        costs = values * self.problem.signs
        layer, distance = layers(costs), np.zeros(len(costs))
        for number in np.unique(layer):
            distance[layer == number] = crowding(costs[layer == number])
        return np.argsort(np.lexsort((-distance, layer, self.problem.goals_missed(values))))

    def _child(self, parent: Codes, seen: set[bytes], rng: np.random.Generator) -> Codes:
        """A new neighbour of a parent; the parent itself, to be mutated further, when all were seen."""
        neighbours = allowed(self.problem, exchanges(self.space, parent, rng), seen)
        return neighbours[[rng.integers(len(neighbours))]] if len(neighbours) else parent
