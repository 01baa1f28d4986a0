"""Ways to spend evaluations: at random, or in part on scores and in part on what the program makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from experiments.integer_program.benchmarks import Benchmark
from nas.search.additive import Additive, Place, additive_scores, choice_places, fitted_scores, slot_places
from nas.search.additive.scores import replacements
from nas.search.metrics import Metric
from nas.search.problem import Problem
from nas.search.program_start import starting_codes
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

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
    return _proposed(benchmark, scores_of_replaced(benchmark, network), evaluated, budget, rng)


def regressed(
    benchmark: Benchmark,
    budget: int,
    rng: np.random.Generator,
    places: Callable[[SearchSpace], list[Place]],
    rounds: int = 1,
) -> Codes:
    """Half of the budget at random; then, in equal rounds, what the program makes of a regression of all so far."""
    evaluated = random(benchmark, budget // 2, rng)
    for size in np.diff(np.linspace(budget // 2, budget, rounds + 1).astype(int)).tolist():
        scores = fitted_scores(benchmark.space, evaluated, benchmark.accuracy(evaluated), places(benchmark.space))
        evaluated = _proposed(benchmark, scores, evaluated, len(evaluated) + size, rng)
    return evaluated


def scores_of_replaced(benchmark: Benchmark, base: Architecture) -> Additive:
    """From the accuracies of the benchmark."""
    space = benchmark.space
    return additive_scores(space, lambda network: float(benchmark.accuracy(space.codes([network]))[0]), base)


def _proposed(benchmark: Benchmark, scores: Additive, seen: Codes, budget: int, rng: np.random.Generator) -> Codes:
    """`seen`, and so many networks that the program proposes that there are `budget`."""
    problem = Problem(benchmark.space, (Metric("accuracy", "maximize", "%"),), _no_limit)
    costs = {"latency_ms": benchmark.cost}
    return np.concatenate([seen, starting_codes(problem, scores, costs, budget - len(seen), rng, seen=seen)])


def _no_limit(codes: Codes) -> NDArray[np.float64]:
    return np.zeros(len(codes))


def choices_and_slots(space: SearchSpace) -> list[Place]:
    """Both, where they differ."""
    return [*choice_places(space), *slot_places(space)]


METHODS: Mapping[str, Method] = {
    "random": random,
    "replaced, largest": partial(replaced, base="largest"),
    "replaced, random base": partial(replaced, base="random"),
    "regression": partial(regressed, places=choice_places),
    "regression, 5 rounds": partial(regressed, places=choice_places, rounds=5),
    "regression with slots, 5 rounds": partial(regressed, places=choices_and_slots, rounds=5),
}
