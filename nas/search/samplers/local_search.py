"""Pareto local search: a simple method that is hard to beat in small spaces (White et al., UAI 2021)."""

from __future__ import annotations

import numpy as np

from nas.search.pareto import nondominated
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.exchanges import allowed, exchanges
from search_spaces.space import Codes


class LocalSearch(BatchSampler):
    """Evaluates the one-exchange neighbours of all networks that no other one dominates (Paquete et al., 2004).

    New neighbours are taken in random order. Networks that miss a goal have no neighbours looked at as long as one
    reaches all goals; before that only those of the one that misses them least are. Where all neighbours were
    evaluated it starts again at random networks.
    """

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """`n` new neighbours; random networks when there are fewer."""
        seen = history.seen
        rows = self._neighbours(history, seen, rng)[:n]
        drawn = self.space.random_codes(n - len(rows), rng)
        codes = self.repaired(np.concatenate([rows, drawn]), seen, rng)
        sources = ["neighbour"] * len(rows) + ["random"] * len(drawn)
        return Batch(codes, [{"source": source} for source in sources[: len(codes)]])

    def _neighbours(self, history: History, seen: set[bytes], rng: np.random.Generator) -> Codes:
        """New ones that keep the cheap limits, in random order."""
        codes = allowed(self.problem, exchanges(self.space, self._best(history), rng), seen)
        return codes[rng.permutation(len(codes))]

    def _best(self, history: History) -> Codes:
        if not len(history.codes):
            return history.codes
        missed = self.problem.goals_missed(history.values)
        least = missed == missed.min()
        best: Codes = history.codes[least][nondominated(history.values[least] * self.problem.signs)]
        return best
