"""What a search does at a latency limit, without a trained network: stand-ins for accuracy, and their optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.space import Codes

Floats = NDArray[np.float64]

#: Random networks that every search starts from.
POOL = 50_000
#: Of the evolution that follows, for every limit: 20 x 500 further candidates.
GENERATIONS, CHILDREN, PARENTS = 20, 500, 50


@dataclass(frozen=True, eq=False)
class StandIns:
    """One random stand-in for accuracy for every limit: as with accuracy, more of anything is better.

    The value of a network is the sum of positive random gains of its options, plus, with random positive weights, the
    logarithms of its MACs and of its parameters. The gains of an ordered choice rise from option to option, those of
    a categorical one do not; a choice that has no effect gains nothing, so that a deeper network is better. All three
    parts have a standard deviation of one before they are weighed.

    Attributes:
        space: of the networks.
        gains: of all options, one choice after the other, shape (limits, options).
        weights: of log MACs and log parameters, divided by their deviations, shape (limits, 2).
    """

    space: SearchSpace
    gains: Floats
    weights: Floats

    @classmethod
    def draw(cls, space: SearchSpace, limits: int, rng: np.random.Generator) -> StandIns:
        """Independent ones for each of `limits` limits."""
        columns = []
        for choice in space.choices:
            drawn = rng.exponential(size=(limits, len(choice.options)))
            columns.append(np.cumsum(drawn, axis=1) if choice.ordered else drawn)
        raw = cls(space, np.concatenate(columns, axis=1), np.zeros((limits, 2)))
        typical = space.random_codes(2000, rng)
        gains = raw.gains / raw.matrix(typical).std(axis=0)[:, None]
        weights = rng.random((limits, 2)) / np.log(_sizes(space, typical)).std(axis=0)
        return cls(space, gains, weights)

    def matrix(self, codes: Codes) -> Floats:
        """Values of n canonical `codes` at every limit, shape (n, limits)."""
        chosen = np.zeros((len(codes), self.gains.shape[1]))
        active = self.space.active(codes)
        np.put_along_axis(chosen, self._columns(codes), active.astype(np.float64), axis=1)
        values: Floats = chosen @ self.gains.T + np.log(_sizes(self.space, codes)) @ self.weights.T
        return values

    def values(self, codes: Codes, limits: NDArray[np.int64]) -> Floats:
        """Values of n canonical `codes`, each at its own of the limits (their numbers, shape (n,)); shape (n,)."""
        gained = np.take_along_axis(self.gains[limits], self._columns(codes), axis=1) * self.space.active(codes)
        sizes = np.log(_sizes(self.space, codes)) * self.weights[limits]
        total: Floats = gained.sum(axis=1) + sizes.sum(axis=1)
        return total

    def _columns(self, codes: Codes) -> NDArray[np.int64]:
        counts = [len(choice.options) for choice in self.space.choices]
        columns: NDArray[np.int64] = codes + np.cumsum([0, *counts[:-1]])
        return columns


def _sizes(space: SearchSpace, codes: Codes) -> Floats:
    """MACs and parameters, shape (n, 2)."""
    return np.stack([space.macs(codes), space.parameters(codes)], axis=1)


@dataclass(frozen=True, eq=False)
class Pool:
    """Random networks, and the smallest and the largest one, with what they are worth at every limit.

    Attributes:
        stand_ins: say what networks are worth.
        codes: shape (n, number of choices).
        values: shape (n, limits).
    """

    stand_ins: StandIns
    codes: Codes
    values: Floats

    @classmethod
    def draw(cls, stand_ins: StandIns, n: int, rng: np.random.Generator) -> Pool:
        """`n` random networks and the ends of the space."""
        space = stand_ins.space
        codes = np.concatenate([space.codes([space.smallest(), space.largest()]), space.random_codes(n, rng)])
        codes = np.unique(space.canonical(codes), axis=0)
        return cls(stand_ins, codes, stand_ins.matrix(codes))


def search(
    pool: Pool, limits_ms: Floats, bound: Callable[[Codes], Floats], rng: np.random.Generator
) -> tuple[Codes, NDArray[np.bool_]]:
    """For every limit, the network that is worth most there among those whose `bound` keeps it.

    All limits are searched at once: the best of the pool, then generations of crossover and mutation.

    Args:
        pool: where to start.
        limits_ms: one for each stand-in, shape (limits,).
        bound: what must not exceed the limit, in milliseconds, of many candidates.
        rng: of crossover and mutation.

    Returns:
        Codes of shape (limits, number of choices), and whether any network keeps the limit, shape (limits,).
    """
    space, numbers = pool.stand_ins.space, np.arange(len(limits_ms))
    kept = np.where(bound(pool.codes)[:, None] <= limits_ms, pool.values, -np.inf).T
    rows = np.argsort(-kept, axis=1, kind="stable")[:, :PARENTS]
    parents, worth = pool.codes[rows], np.take_along_axis(kept, rows, axis=1)
    owners = np.repeat(numbers, CHILDREN)
    for _ in range(GENERATIONS):
        able = np.maximum(1, np.isfinite(worth).sum(axis=1))[owners]
        mother, father = (parents[owners, rng.integers(able)] for _ in range(2))
        children = space.mutate(space.crossover(mother, father, rng), 1.5 / len(space.choices), rng)
        value = np.where(bound(children) <= limits_ms[owners], pool.stand_ins.values(children, owners), -np.inf)
        everyone = np.concatenate([parents, children.reshape(len(numbers), CHILDREN, -1)], axis=1)
        parents, worth = _best(everyone, np.concatenate([worth, value.reshape(len(numbers), CHILDREN)], axis=1))
    return parents[:, 0], np.isfinite(worth[:, 0])


def _best(codes: Codes, worth: Floats) -> tuple[Codes, Floats]:
    """The `PARENTS` best of every limit, each once; shapes (limits, parents, choices) and (limits, parents)."""
    order = np.argsort(-worth, axis=1, kind="stable")
    worth = np.take_along_axis(worth, order, axis=1)
    worth[:, 1:][worth[:, 1:] == worth[:, :-1]] = -np.inf  # equal worth: the same network
    again = np.argsort(-worth, axis=1, kind="stable")[:, :PARENTS]
    rows = np.take_along_axis(order, again, axis=1)
    return np.take_along_axis(codes, rows[:, :, None], axis=1), np.take_along_axis(worth, again, axis=1)
