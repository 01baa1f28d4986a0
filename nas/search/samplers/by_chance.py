"""Random search: the weakest baseline, and the strongest one of many comparisons."""

from __future__ import annotations

import numpy as np

from nas.search.samplers.batch import Batch, BatchSampler, History


class RandomSampler(BatchSampler):
    """Uniform over the options of each choice."""

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """`n` draws."""
        codes = self.repaired(self.space.random_codes(n, rng), history.seen, rng)
        return Batch(codes, [{"source": "random"} for _ in codes])
