"""The search inside the search: many candidates that only the surrogates see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.acquisition import Beliefs
from nas.search.feasibility import all_codes
from nas.search.pareto import layers
from nas.search.problem import Problem
from nas.search.surrogates.descriptors import Described, Descriptors
from search_spaces.space import Codes

#: Spaces up to this size are screened as a whole, others by evolution.
LISTED = 20_000

GENERATIONS, CHILDREN, PARENTS = 8, 600, 150


@dataclass(frozen=True)
class Screened:
    """Candidates and what is believed of them.

    Attributes:
        codes: canonical and distinct, shape (n, choices).
        described: what a surrogate sees of them.
        beliefs: of their objectives, to be minimised.
    """

    codes: Codes
    described: Described
    beliefs: Beliefs

    def take(self, rows: NDArray[np.intp]) -> Screened:
        """Some of them."""
        return Screened(self.codes[rows], self.described.take(rows), self.beliefs.take(rows))

    @classmethod
    def joined(cls, parts: Sequence[Screened]) -> Screened:
        """One after the other."""
        codes = np.concatenate([part.codes for part in parts])
        described = Described.joined([part.described for part in parts])
        return cls(codes, described, Beliefs.joined([part.beliefs for part in parts]))


Believe = Callable[[Codes, Described], Beliefs]


class Screening:
    """Finds candidates that are new, keep the limits, and may be better than what is known.

    A small space is gone through as a whole. In a larger one NSGA-II (Deb et al., 2002) evolves the networks that were
    evaluated, on the surrogates' means minus a multiple of their deviations that changes with every generation.

    Args:
        problem: space, objectives and limits.
        describe: what a surrogate sees of a network.
    """

    def __init__(self, problem: Problem, describe: Descriptors) -> None:
        self.problem, self.space, self.describe = problem, problem.space, describe

    def __call__(self, believe: Believe, good: Codes, seen: set[bytes], rng: np.random.Generator) -> Screened:
        """All candidates that were looked at; there may be none.

        Args:
            believe: the surrogates, for codes of shape (n, choices).
            good: evaluated networks to begin with, the best ones first, shape (k, choices).
            seen: rows that may not be proposed.
            rng: of the evolution.
        """
        if self.space.size <= LISTED:
            codes, described = self._listed
            rows = _new(codes, seen)
            codes, described = codes[rows], described.take(rows)
            return Screened(codes, described, believe(codes, described))
        return self._evolved(believe, good, set(seen), rng)

    @cached_property
    def _listed(self) -> tuple[Codes, Described]:
        codes = all_codes(self.space)
        kept: Codes = codes[self.problem.violation(codes) <= 0]
        return kept, self.describe(kept)

    def _evolved(self, believe: Believe, good: Codes, seen: set[bytes], rng: np.random.Generator) -> Screened:
        found: list[Screened] = []
        parents = good[: 2 * PARENTS]
        for _ in range(GENERATIONS):
            children = self._children(parents, rng)
            children = children[_new(children, seen)]
            children = children[self.problem.violation(children) <= 0]
            seen.update(_keys(children))
            described = self.describe(children)
            found.append(Screened(children, described, believe(children, described)))
            parents = self._parents(found, good, rng.uniform(0.0, 2.0))
        return Screened.joined(found)

    def _children(self, parents: Codes, rng: np.random.Generator) -> Codes:
        """Half of them of two parents; one in six without any."""
        a, b = (parents[rng.integers(len(parents), size=CHILDREN)] for _ in range(2))
        crossed = rng.random(CHILDREN) < 0.5
        children = np.where(crossed[:, None], self.space.crossover(a, b, rng), a)
        steps = rng.choice([1.0, 2.0, 4.0]) / len(self.space.choices)
        mutated = self.space.mutate(children, min(1.0, steps), rng)
        return np.concatenate([mutated, self.space.random_codes(CHILDREN // 6, rng)])

    def _parents(self, found: Sequence[Screened], good: Codes, optimism: float) -> Codes:
        """The first layers of the candidates so far, and what was evaluated."""
        hoped = np.concatenate([part.beliefs.mean - optimism * part.beliefs.deviation for part in found])
        best = np.argsort(layers(hoped, PARENTS), kind="stable")[:PARENTS]
        return np.concatenate([good[: PARENTS // 3], np.concatenate([part.codes for part in found])[best]])


def _keys(codes: Codes) -> list[bytes]:
    """`row.tobytes()` of each row."""
    rows = np.ascontiguousarray(codes)
    keys: list[Any] = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel().tolist()
    return keys


def _new(codes: Codes, seen: set[bytes]) -> NDArray[np.intp]:
    """The first rows of those codes that were not seen."""
    first: dict[bytes, int] = {}
    for index, key in enumerate(_keys(codes)):
        first.setdefault(key, index)
    return np.array([index for key, index in first.items() if key not in seen], dtype=np.intp)
