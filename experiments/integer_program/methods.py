"""Ways to spend evaluations: at random, or in part on scores and in part on what the program makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from experiments.integer_program.benchmarks import POINTS, Benchmark
from nas.search.additive import Additive, additive_scores, choice_places, fitted_scores
from nas.search.additive.scores import replacements
from nas.search.integer_program import IntegerProgram
from nas.search.metrics import Metric
from nas.search.problem import Problem
from nas.search.program_start import starting_codes
from search_spaces import Architecture
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: The evaluated networks of one run with a number of evaluations, of which there may be fewer.
Method = Callable[[Benchmark, int, np.random.Generator], Codes]


def random(benchmark: Benchmark, budget: int, rng: np.random.Generator) -> Codes:
    """Distinct random networks."""
    return benchmark.space.codes(benchmark.space.sample(budget, int(rng.integers(2**31))))


def replaced(benchmark: Benchmark, budget: int, rng: np.random.Generator, base: str) -> Codes:
    """One choice of a base network replaced at a time; the rest of the budget is what the program proposes.

    No network when the budget is not larger than what the scores take.
    """
    space = benchmark.space
    network = space.largest() if base == "largest" else space.sample(1, int(rng.integers(2**31)))[0]
    evaluated = replacements(space, network)
    if len(evaluated) >= budget:
        return space.codes([])
    accuracy = benchmark.accuracy(evaluated)
    return _proposed(benchmark, scores_of_replaced(benchmark, network), evaluated, accuracy, budget, rng)


def regressed(
    benchmark: Benchmark,
    budget: int,
    rng: np.random.Generator,
    rounds: int = 1,
    aimed: bool = True,
    scored: Callable[[Values], Values] = np.asarray,
) -> Codes:
    """Half of the budget at random; then, in equal rounds, what the program makes of a regression of all so far.

    Args:
        benchmark: gives accuracies.
        budget: evaluations.
        rng: of the random networks.
        rounds: how many.
        aimed: see `_proposed`.
        scored: what of the accuracies of the evaluated networks is regressed.
    """
    space, evaluated = benchmark.space, random(benchmark, budget // 2, rng)
    for size in np.diff(np.linspace(budget // 2, budget, rounds + 1).astype(int)).tolist():
        values = scored(benchmark.accuracy(evaluated))
        scores = fitted_scores(space, evaluated, values, choice_places(space))
        evaluated = _proposed(benchmark, scores, evaluated, values, len(evaluated) + size, rng, aimed)
    return evaluated


def normal_scores(values: Values) -> Values:
    """Quantiles of the normal distribution at the ranks: a few very bad networks weigh no more than any others."""
    scores: Values = norm.ppf((rankdata(values) - 0.5) / len(values))
    return scores


def scores_of_replaced(benchmark: Benchmark, base: Architecture) -> Additive:
    """From the accuracies of the benchmark."""
    space = benchmark.space
    return additive_scores(space, lambda network: float(benchmark.accuracy(space.codes([network]))[0]), base)


def _proposed(
    benchmark: Benchmark,
    scores: Additive,
    seen: Codes,
    values: Values,
    budget: int,
    rng: np.random.Generator,
    aimed: bool = True,
) -> Codes:
    """`seen`, and so many networks that the program proposes that there are `budget`.

    Args:
        benchmark: gives the cost.
        scores: of the program.
        seen: evaluated networks.
        values: what the scores model, of `seen`.
        budget: evaluations.
        rng: see `starting_codes`.
        aimed: only networks that score as high as those that were evaluated within `POINTS` of the best accuracy.
    """
    problem = Problem(benchmark.space, (Metric("accuracy", "maximize", "%"),), _no_limit)
    costs = {"latency_ms": benchmark.cost, "-accuracy": -scores}
    accuracy = benchmark.accuracy(seen)
    goal = float(values[accuracy >= accuracy.max() - POINTS].min())
    reachable = aimed and goal < IntegerProgram(scores, {}).best({}).score
    limits = {"-accuracy": -goal} if reachable else {}
    return np.concatenate([seen, starting_codes(problem, scores, costs, budget - len(seen), rng, limits, seen)])


def _no_limit(codes: Codes) -> NDArray[np.float64]:
    return np.zeros(len(codes))


METHODS: Mapping[str, Method] = {
    "random": random,
    "replaced, largest": partial(replaced, base="largest"),
    "replaced, random base": partial(replaced, base="random"),
    "regression": regressed,
    "regression of ranks": partial(regressed, scored=normal_scores),
    "regression of ranks, 5 rounds": partial(regressed, rounds=5, scored=normal_scores),
    "the same, whole range": partial(regressed, rounds=5, aimed=False, scored=normal_scores),
}
