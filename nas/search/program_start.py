"""Networks that an integer program proposes before anything else is known of a study, and the bound that it proves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import CheckFailed
from nas.search.additive import Additive, NotAdditive, choice_places, decompose, fitted_scores, slot_places
from nas.search.feasibility import least_violation
from nas.search.integer_program import Infeasible, IntegerProgram
from nas.search.limits import Limit
from nas.search.metrics import Metric, find
from nas.search.problem import Problem
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Random networks that a cost which is no sum is fitted on.
FITTED = 1000
#: Solutions that are tried at each limit; a cost that is no sum may be above what the program takes it for.
ATTEMPTS = 4
#: The limit of the next attempt, relative to the one before.
TIGHTER = 0.97
#: Halvings of the range, when an end of it misses a limit that the program does not know.
HALVINGS = 12
#: Of mutated networks that make up for limits without a solution.
MUTATIONS = 20


def additive_metric(metric: Metric, space: SearchSpace, rng: np.random.Generator) -> Additive:
    """What limits on a cheap metric are compared with, as a sum: exact when it is one, else fitted on random networks.

    Args:
        metric: one with values.
        space: of the networks.
        rng: draws the networks of a fit.

    Raises:
        ValueError: when the metric is known only after an evaluation, or a slot has too many variants.
    """
    try:
        return decompose(space, metric.bounds)
    except NotAdditive:
        codes = space.random_codes(FITTED, rng)
        values = metric.bounds(codes)
        # Errors count relative to the value: limits are low where there are few random networks.
        weights = 1 / np.maximum(np.abs(values), 1e-6 * np.abs(values).max()) ** 2
        # A choice may show in one phase only, such as a window in the cache of the next token.
        places = [place for phase in space.phases for place in slot_places(space, phase)] or choice_places(space)
        return fitted_scores(space, codes, values, places, weights)


def additive_limits(
    limits: Sequence[Limit], metrics: Sequence[Metric], space: SearchSpace, rng: np.random.Generator
) -> tuple[dict[str, Additive], dict[str, float]]:
    """The limits on cheap metrics for an integer program: costs by name, and their largest values.

    A lower bound is an upper one of the negative; its name starts with a minus.
    """
    costs: dict[str, Additive] = {}
    highest: dict[str, float] = {}
    for limit in limits:
        metric = find(limit.metric, metrics)
        if metric.values is None:
            continue
        name = limit.metric if limit.sign > 0 else f"-{limit.metric}"
        if name not in costs:
            cost = additive_metric(metric, space, rng)
            costs[name] = cost if limit.sign > 0 else -cost
        highest[name] = min(limit.sign * limit.value, highest.get(name, np.inf))
    return costs, highest


def starting_codes(
    problem: Problem,
    scores: Additive,
    costs: Mapping[str, Additive],
    n: int,
    rng: np.random.Generator,
    limits: Mapping[str, float] | None = None,
    seen: Codes | None = None,
) -> Codes:
    """Networks to start a study with: the best additive score at limits that go over the range of a cost.

    Args:
        problem: whose limits the networks keep, whatever the program takes their costs for.
        scores: what is maximised, from `additive_scores` or `fitted_scores`.
        costs: by name; the networks are spread over the range of the first one, evenly in its logarithm.
        n: how many are wanted.
        rng: of the mutations that fill up when the program has too few answers.
        limits: largest values of costs, by name; see `additive_limits`.
        seen: networks that were evaluated already and are not wanted again, shape (k, choices).

    Returns:
        Canonical codes of distinct networks, shape (n, choices); fewer rows when no more were found.

    Raises:
        CheckFailed: when no network was found that keeps the limits.
        ValueError: when there is no cost to spread over, or no network is wanted.
    """
    if not costs or n < 1:
        raise ValueError("starting codes need a cost to spread over and a number of networks from 1")
    program = IntegerProgram(scores, costs)
    start = _Start(
        problem, program, next(iter(costs)), dict(limits or {}), problem.space.codes([]) if seen is None else seen
    )
    low, high = start.range()
    spread = np.geomspace(high, low, n) if low > 0 else np.linspace(high, low, n)
    for limit in spread:
        start.take(float(limit))
    start.fill(n, rng)
    if not len(start.taken):
        raise CheckFailed(f"no network of space {problem.space.name!r} was found that keeps the limits")
    return start.taken


class _Start:
    """Networks that are taken, and those that were tried or are not wanted again."""

    def __init__(
        self, problem: Problem, program: IntegerProgram, name: str, limits: dict[str, float], seen: Codes
    ) -> None:
        self.problem, self.program, self.name, self.limits = problem, program, name, limits
        self.taken = self._barred = problem.space.codes([])
        self._seen = set(map(bytes, problem.space.canonical(seen)))

    def range(self) -> tuple[float, float]:
        """The least and the largest limit that make a difference.

        Raises:
            CheckFailed: when no network keeps the limits.
        """
        least, most = self.program.least(self.name, self.limits), self.program.best(self.limits).costs[self.name]
        inside = [limit for limit in (least, most) if self._kept(limit)] or [self._anchor()]
        return self._edge(least, inside[0]), self._edge(max(least, most), inside[-1])

    def take(self, limit: float) -> None:
        """The best network at a limit that was not tried yet, or the next one that keeps the limits of the problem."""
        for attempt in range(ATTEMPTS):
            codes = self._unseen(limit * TIGHTER**attempt)
            if codes is None:
                return
            self._seen.add(bytes(codes[0]))
            if self.problem.violation(codes)[0] <= 0:
                self.taken = np.concatenate([self.taken, codes])
                return

    def _unseen(self, limit: float) -> Codes | None:
        """Of what was seen, the program is told only what it proposes: fewer rows are solved faster."""
        while True:
            try:
                codes = self.program.best(self._at(limit), self._barred).codes
            except Infeasible:
                return None
            if bytes(codes[0]) not in self._seen:
                return codes
            self._barred = np.concatenate([self._barred, codes])

    def fill(self, n: int, rng: np.random.Generator) -> None:
        """Mutants of what was taken, and of the network that keeps the limits best, until there are `n`."""
        space = self.problem.space
        for _ in range(MUTATIONS):
            if len(self.taken) >= n:
                break
            parents = self.taken if len(self.taken) else least_violation(space, self.problem.violation, 0)
            mutants = space.mutate(parents[rng.integers(len(parents), size=128)], 2 / len(space.choices), rng)
            mutants = mutants[self.problem.violation(mutants) <= 0]
            mutants = mutants[[bytes(row) not in self._seen for row in mutants]]
            rows = dict.fromkeys(map(tuple, [*self.taken.tolist(), *mutants.tolist()]))
            self.taken = np.array(list(rows)[:n], dtype=np.int64).reshape(-1, len(space.choices))

    def _at(self, limit: float) -> dict[str, float]:
        return {**self.limits, self.name: min(limit, self.limits.get(self.name, np.inf))}

    def _kept(self, limit: float) -> bool:
        try:
            return bool(self.problem.violation(self.program.best(self._at(limit)).codes)[0] <= 0)
        except Infeasible:
            return False

    def _anchor(self) -> float:
        codes = least_violation(self.problem.space, self.problem.violation, 0)
        if self.problem.violation(codes)[0] > 0:
            raise CheckFailed(f"no network of space {self.problem.space.name!r} was found that keeps the limits")
        return float(self.program.costs[self.name](codes)[0])

    def _edge(self, end: float, inside: float) -> float:
        """The limit nearest to an end of the range whose best network keeps the limits of the problem."""
        if self._kept(end):
            return end
        for _ in range(HALVINGS):
            middle = (end + inside) / 2
            end, inside = (end, middle) if self._kept(middle) else (middle, inside)
        return inside


@dataclass(frozen=True)
class Ceiling:
    """What can be had at a limit, and what was found.

    Attributes:
        limit: on the cost.
        bound: no architecture within the limit has a higher additive score.
        score: the highest additive score of the evaluated architectures within the limit; minus infinity without one.
        value: their highest evaluated value, which may be above the bound: the additive score is a model of it.
    """

    limit: float
    bound: float
    score: float
    value: float


def ceilings(
    program: IntegerProgram, name: str, limits: Sequence[float], codes: Codes, values: Values
) -> list[Ceiling]:
    """The bound of the additive score at each limit on the cost `name`, against evaluated architectures.

    Args:
        program: gives the bound.
        name: of the cost.
        limits: of it.
        codes: of the evaluated architectures, shape (n, choices).
        values: of what the score models, shape (n,).

    Raises:
        Infeasible: when no architecture keeps one of the limits.
    """
    cost, score = program.costs[name](codes), program.score(codes)
    rows = []
    for limit, solution in zip(limits, program.front(name, limits), strict=True):
        kept = cost <= limit
        best, value = (float(some[kept].max(initial=-np.inf)) for some in (score, np.asarray(values)))
        rows.append(Ceiling(float(limit), solution.bound, best, value))
    return rows
