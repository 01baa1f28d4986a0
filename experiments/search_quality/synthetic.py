"""`python -m experiments.search_quality.synthetic`: a space far too large for a table, whose front is known exactly.

45 choices of four options each. Every three of them make a slot. Gain and cost of a network are sums over the slots, and
in a slot every choice and every pair of choices counts, so that the best gain at each cost follows by dynamic
programming over the slots. Larger options cost more and gain more on the average, but each has luck of its own. The
accuracy is the gain as a percentage: 0 for the worst network of all, 100 for the best.

The figures are those of `python -m experiments.search_quality`, after 100, 300 and 1,000 evaluations. The region here is
everything that is better than the average network: 10 points below the best is beyond what a thousand evaluations find.

example
  python -m experiments.search_quality.synthetic --sampler nsga2 --seeds 20 --budget 1000 --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.search_quality.command import add_plan, run
from experiments.search_quality.task import Task, Values, references
from nas.search.pareto import nondominated
from search_spaces import SearchSpace
from search_spaces.space import Choice, Codes

#: Choices of a slot, and options of each.
CHOICES, OPTIONS = 3, 4
#: Standard deviation of an option's own gain, and of that of a pair, beside what its size brings.
LUCK = 0.35
#: The highest costs of a step of a choice, and of a pair of two steps.
STEP, PAIR = 8, 2


@dataclass(frozen=True, eq=False)
class Slots:
    """A sum over slots.

    Attributes:
        gain: of each variant of each slot, shape (slots, variants).
        cost: the same, whole numbers.
    """

    gain: Values
    cost: NDArray[np.int64]

    @classmethod
    def draw(cls, slots: int, seed: int) -> Slots:
        """Random gains and costs."""
        rng = np.random.default_rng(seed)
        options = np.stack(np.unravel_index(np.arange(OPTIONS**CHOICES), (OPTIONS,) * CHOICES))  # (choices, variants)
        drawn = [cls._slot(options, rng) for _ in range(slots)]
        return cls(np.stack([gain for gain, _ in drawn]), np.stack([cost for _, cost in drawn]))

    @staticmethod
    def _slot(options: NDArray[np.int64], rng: np.random.Generator) -> tuple[Values, NDArray[np.int64]]:
        gain, cost = np.zeros(options.shape[1]), np.zeros(options.shape[1], dtype=np.int64)
        weights = np.exp(0.7 * rng.standard_normal(CHOICES))
        for option, weight in zip(options, weights, strict=True):
            gain += weight * (np.sqrt(option / (OPTIONS - 1)) + (LUCK * rng.standard_normal(OPTIONS))[option])
            cost += int(rng.integers(1, STEP + 1)) * option
        for a in range(CHOICES):
            for b in range(a):
                luck = LUCK * np.sqrt(weights[a] * weights[b]) * rng.standard_normal((OPTIONS, OPTIONS))
                gain += luck[options[a], options[b]]
                cost += int(rng.integers(0, PAIR + 1)) * options[a] * options[b]
        return gain, cost

    def front(self) -> Values:
        """All best trade-offs, shape (m, 2): negative gain, cost."""
        best = np.array([0.0])  # the highest gain of the slots so far, by their cost
        for gain, cost in zip(self.gain, self.cost, strict=True):
            extended = np.full(len(best) + int(cost.max()), -np.inf)
            for more, dearer in zip(gain, cost, strict=True):
                part = extended[dearer : dearer + len(best)]
                np.maximum(part, best + more, out=part)
            best = extended
        points = np.stack([-best, np.arange(len(best), dtype=float)], axis=1)
        return np.asarray(points[nondominated(points)])

    def total(self, table: NDArray[np.generic], codes: Codes) -> Values:
        """Sums of `table`, `gain` or `cost`, of networks, shape (n,)."""
        strides = OPTIONS ** np.arange(CHOICES)[::-1]
        variants = codes.reshape(len(codes), -1, CHOICES) @ strides
        return np.asarray(table[np.arange(len(table)), variants].sum(axis=1), dtype=np.float64)


def make(slots: int = 15, seed: int = 0) -> Task:
    """The task.

    Args:
        slots: how many, each of three choices.
        seed: of gains and costs.
    """
    parts = Slots.draw(slots, seed)
    lowest, highest = parts.gain.min(axis=1).sum(), parts.gain.max(axis=1).sum()

    def percent(gain: Values) -> Values:
        return np.asarray(100 * (gain - lowest) / (highest - lowest))

    front = parts.front()
    front[:, 0] = -percent(-front[:, 0])
    options = tuple(range(1, OPTIONS + 1))
    choices = tuple(Choice(f"slot{i}_choice{j}", options) for i in range(slots) for j in range(CHOICES))
    average = float(percent(parts.gain.mean(axis=1).sum()[None])[0])
    ends = np.array([0.0, 100.0]), np.array([0.0, float(parts.cost.max(axis=1).sum())])
    return Task(
        SearchSpace("synthetic", choices, ()),
        lambda codes: percent(parts.total(parts.gain, codes)),
        lambda codes: parts.total(parts.cost, codes),
        "",
        front,
        references(*ends, points=100 - average),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code: 0 done, 2 wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.search_quality.synthetic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_plan(parser)
    return run(make, parser.parse_args(argv), (100, 300, 1000))


if __name__ == "__main__":
    sys.exit(main())
