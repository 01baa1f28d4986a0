"""A sampler that solves an integer program over the choices in place of searching."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from nas.errors import CheckFailed
from nas.search.additive import Additive, choice_places, fitted_scores
from nas.search.problem import Problem
from nas.search.program_start import additive_metric, starting_codes
from nas.search.samplers.batch import Batch, BatchSampler, History


class IntegerProgramSampler(BatchSampler):
    """Additive scores of the options and an integer program, in rounds.

    As Puzzle (Bercovich et al., 2024) and HAWQ-V3 (Yao et al., ICML 2021) do, the expensive objective is taken for a sum
    over the choices; the best networks at limits on a cheap objective are then the solutions of integer programs. Here the
    scores are a ridge regression on all networks that were evaluated, so that they get better with every round.

    Args:
        problem: with one objective that is known only by evaluation, and cheap ones.
        seed: of all random draws.
        batch_size: networks of a batch.
        initial: random networks before the first program.
    """

    def __init__(self, problem: Problem, seed: int, batch_size: int = 10, initial: int = 20) -> None:
        super().__init__(problem, seed, batch_size)
        expensive = [column for column, metric in enumerate(problem.objectives) if metric.values is None]
        if len(expensive) != 1 or len(problem.objectives) < 2:
            raise ValueError("an integer program needs one objective that is evaluated, and others that are predicted")
        if initial < 2:
            raise ValueError(f"initial is {initial}: the scores need at least 2 networks to begin with")
        self.initial, self._expensive = initial, expensive[0]

    @cached_property
    def _costs(self) -> dict[str, Additive]:
        """The cheap objectives as sums, to be minimised."""
        costs = {}
        for metric in self.problem.objectives:
            if metric.values is not None:
                cost = additive_metric(metric, self.space, np.random.default_rng(self.seed))
                costs[metric.name] = cost if metric.direction == "minimize" else -cost
        return costs

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """The `n` best networks by additive scores, at limits that go over the range of the first cheap objective."""
        if len(history.codes) < self.initial:
            codes = self.repaired(self.space.random_codes(n, rng), history.seen, rng)
            return Batch(codes, [{"source": "random"} for _ in codes])
        gains = -self.problem.signs[self._expensive] * history.values[:, self._expensive]
        scores = fitted_scores(self.space, history.codes, gains, choice_places(self.space))
        seen = np.concatenate([history.codes, history.others])
        try:
            codes = starting_codes(self.problem, scores, self._costs, n, rng, seen=seen)
        except CheckFailed:  # nothing new was found: the last ones are looked for one by one
            codes = self.repaired(self.space.random_codes(n, rng), history.seen, rng)
        name, sign = self.problem.objectives[self._expensive].name, -self.problem.signs[self._expensive]
        predicted = (sign * scores(codes)).tolist()
        return Batch(codes, [{"source": "integer program", "predicted": {name: value}} for value in predicted])
