"""The search inside the search: many candidates that only the surrogates see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.search.acquisition import Beliefs
from nas.search.feasibility import all_codes
from nas.search.pareto import layers
from nas.search.problem import Problem
from search_spaces.space import Codes

#: Spaces up to this size are screened as a whole, others by evolution.
LISTED = 20_000

GENERATIONS, CHILDREN, PARENTS = 8, 600, 150


@dataclass(frozen=True)
class Screened:
    """Candidates and what is believed of them.

    Attributes:
        codes: canonical and distinct, shape (n, choices).
        beliefs: of their objectives, to be minimised.
    """

    codes: Codes
    beliefs: Beliefs

    def take(self, rows: NDArray[np.intp]) -> Screened:
        """Some of them."""
        return Screened(self.codes[rows], self.beliefs.take(rows))


class Screening:
    """Finds candidates that are new, keep the limits, and may be better than what is known.

    A small space is gone through as a whole. In a larger one NSGA-II (Deb et al., 2002) evolves the networks that were
    evaluated, on the surrogates' means minus a multiple of their deviations that changes with every generation.

    Args:
        problem: space, objectives and limits.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.space = problem, problem.space

    def __call__(
        self, believe: Callable[[Codes], Beliefs], good: Codes, seen: set[bytes], rng: np.random.Generator
    ) -> Screened:
        """All candidates that were looked at; there may be none.

        Args:
            believe: the surrogates, for codes of shape (n, choices).
            good: evaluated networks to begin with, the best ones first, shape (k, choices).
            seen: rows that may not be proposed.
            rng: of the evolution.
        """
        if self.space.size <= LISTED:
            codes = _new(self._listed, seen)
            return Screened(codes, believe(codes))
        return self._evolved(believe, good, set(seen), rng)

    @cached_property
    def _listed(self) -> Codes:
        codes = all_codes(self.space)
        kept: Codes = codes[self.problem.violation(codes) <= 0]
        return kept

    def _evolved(
        self, believe: Callable[[Codes], Beliefs], good: Codes, seen: set[bytes], rng: np.random.Generator
    ) -> Screened:
        found: list[Screened] = []
        parents = good
        for _ in range(GENERATIONS):
            children = self._children(parents, rng)
            children = _new(children[self.problem.violation(children) <= 0], seen)
            if len(children):
                seen |= {row.tobytes() for row in children}
                found.append(Screened(children, believe(children)))
            parents = self._parents(found, good, rng.uniform(0.0, 2.0))
        if not found:
            return Screened(good[:0], believe(good).take(np.arange(0)))
        return _joined(found)

    def _children(self, parents: Codes, rng: np.random.Generator) -> Codes:
        """Half of them of two parents; one in six without any."""
        a, b = (parents[rng.integers(len(parents), size=CHILDREN)] for _ in range(2))
        crossed = rng.random(CHILDREN) < 0.5
        children = np.where(crossed[:, None], self.space.crossover(a, b, rng), a)
        steps = rng.choice([1.0, 2.0, 4.0]) / len(self.space.choices)
        mutated = self.space.mutate(children, min(1.0, steps), rng)
        return np.concatenate([mutated, self.space.random_codes(CHILDREN // 6, rng)])

    def _parents(self, found: list[Screened], good: Codes, optimism: float) -> Codes:
        """The first layers of the candidates so far, and what was evaluated."""
        if not found:
            return good
        pool = _joined(found)
        hoped = pool.beliefs.mean - optimism * pool.beliefs.deviation
        ranks = layers(hoped, PARENTS)
        return np.concatenate([good[: PARENTS // 3], pool.codes[np.argsort(ranks, kind="stable")[:PARENTS]]])


def _joined(found: list[Screened]) -> Screened:
    codes = np.concatenate([part.codes for part in found])
    means = np.concatenate([part.beliefs.mean for part in found])
    deviations = np.concatenate([part.beliefs.deviation for part in found])
    return Screened(codes, Beliefs(means, deviations))


def _new(codes: Codes, seen: set[bytes]) -> Codes:
    """The distinct rows that were not seen."""
    fresh = {row.tobytes(): index for index, row in reversed(list(enumerate(codes)))}
    rows = sorted(index for key, index in fresh.items() if key not in seen)
    return codes[np.array(rows, dtype=np.intp)]
