"""Networks that start a study, and the bound at each limit."""

from __future__ import annotations

import numpy as np
import pytest
from additive_truths import random_scores
from numpy.typing import NDArray
from synthetic_search import objectives_of

import search_spaces
from nas.errors import CheckFailed
from nas.search.additive import decompose
from nas.search.feasibility import all_codes
from nas.search.integer_program import IntegerProgram
from nas.search.limits import parse_all
from nas.search.metrics import ACCURACY, Metric, cheap_metrics
from nas.search.problem import Problem
from nas.search.program_start import additive_limits, additive_metric, ceilings, starting_codes
from search_spaces import SearchSpace
from search_spaces.space import Codes


def metrics_of(space: SearchSpace) -> list[Metric]:
    return [ACCURACY, *cheap_metrics(space, {})]


def problem_of(space: SearchSpace, *limits: str) -> Problem:
    metrics = metrics_of(space)
    return Problem.of(space, objectives_of(metrics), metrics, parse_all(limits, metrics, space))


def bent(space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
    """MACs, but for 10 % no sum."""
    return space.macs(codes) * (1 + 0.1 * np.sin(codes.sum(axis=1))) / 1e6


def assert_distinct(codes: Codes) -> None:
    assert len(np.unique(codes, axis=0)) == len(codes)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_they_keep_the_limits_and_go_over_the_range(small: SearchSpace, n: int) -> None:
    """Each is the best at its cost: no random network of its cost or less has a higher score, as few have as random ones."""
    metrics = metrics_of(small)
    limits = ["macs_m <= 40 %", "macs_m >= 5 %", "parameters_m <= 50 %"]
    problem, rng = problem_of(small, *limits), np.random.default_rng(0)
    costs, highest = additive_limits(parse_all(limits, metrics, small), metrics, small, rng)
    assert list(costs) == list(highest) == ["macs_m", "-macs_m", "parameters_m"]
    scores = random_scores(small, 0, True)
    codes = starting_codes(problem, scores, costs, n, rng, highest)
    assert codes.shape == (n, len(small.choices))
    assert (problem.violation(codes) <= 1e-9).all()
    assert_distinct(codes)
    draws = small.random_codes(50_000, rng)
    draws = draws[problem.violation(draws) <= 0]
    if n == 12:
        macs = np.sort(small.macs(codes))
        assert macs[0] == pytest.approx(small.macs(draws).min(), rel=0.1)
        steps = np.diff(np.log(macs))
        assert steps.max() < 4 * (np.log(macs[-1]) - np.log(macs[0])) / 11
    better = [
        (scores(draws)[small.macs(draws) <= cost] > score).mean()
        for cost, score in zip(small.macs(codes), scores(codes), strict=True)
    ]
    assert np.median(better) == 0


def test_limits_that_the_program_does_not_know(small: SearchSpace) -> None:
    """The peak of memory is no sum; the range ends where it does."""
    problem = problem_of(small, "memory_mb <= 25 %")
    share = (problem.violation(small.random_codes(5000, np.random.default_rng(3))) <= 0).mean()
    assert share < 0.7
    codes = starting_codes(
        problem, random_scores(small, 1, False), {"macs": decompose(small, small.macs)}, 8, np.random.default_rng(0)
    )
    assert len(codes) == 8
    assert (problem.violation(codes) <= 0).all()
    assert_distinct(codes)


def test_a_cost_that_is_no_sum_is_fitted_and_its_limit_holds(small: SearchSpace) -> None:
    metric = Metric("bent_m", "minimize", "M", lambda codes: bent(small, codes))
    metrics, rng = [metric], np.random.default_rng(0)
    draws = small.random_codes(2000, np.random.default_rng(9))
    fitted = additive_metric(metric, small, rng)
    errors = fitted(draws) / bent(small, draws) - 1
    assert 0.01 < errors.std() < 0.12
    limit = float(np.quantile(bent(small, draws), 0.1))
    limits = parse_all([f"bent_m <= {limit:.6g}"], metrics, small)
    problem = Problem.of(small, metrics, metrics, limits)
    costs, highest = additive_limits(limits, metrics, small, rng)
    codes = starting_codes(problem, random_scores(small, 2, True), costs, 10, rng, highest)
    assert len(codes) == 10
    assert (bent(small, codes) <= limit).all()
    assert_distinct(codes)


def test_a_space_with_fewer_networks_gives_all(tiny: SearchSpace) -> None:
    problem = problem_of(tiny, "macs_m <= 80 %")
    every = all_codes(tiny)
    kept = every[problem.violation(every) <= 0]
    assert 2 < len(kept) < len(every)
    cost = {"macs": decompose(tiny, tiny.macs)}
    codes = starting_codes(problem, random_scores(tiny, 0, True), cost, 50, np.random.default_rng(0))
    assert {row.tobytes() for row in codes} == {row.tobytes() for row in kept}
    seen = codes[::2]
    others = starting_codes(problem, random_scores(tiny, 0, True), cost, 50, np.random.default_rng(0), seen=seen)
    assert {row.tobytes() for row in others} == {row.tobytes() for row in codes[1::2]}


def test_limits_that_nothing_keeps(tiny: SearchSpace) -> None:
    scores, cost, rng = random_scores(tiny, 0, True), {"macs_m": decompose(tiny, tiny.macs)}, np.random.default_rng(0)
    with pytest.raises(CheckFailed, match="keeps the limits"):
        starting_codes(problem_of(tiny, "memory_mb <= 1 %"), scores, cost, 3, rng)
    with pytest.raises(CheckFailed, match="macs_m <= 1"):
        starting_codes(problem_of(tiny), scores, cost, 3, rng, {"macs_m": 1.0})


def test_wrong_requests(tiny: SearchSpace) -> None:
    scores, rng = random_scores(tiny, 0, True), np.random.default_rng(0)
    with pytest.raises(ValueError, match="a cost to spread over"):
        starting_codes(problem_of(tiny), scores, {}, 3, rng)
    with pytest.raises(ValueError, match="number of networks from 1"):
        starting_codes(problem_of(tiny), scores, {"macs": decompose(tiny, tiny.macs)}, 0, rng)
    with pytest.raises(ValueError, match="only after an evaluation"):
        additive_metric(ACCURACY, tiny, rng)


def test_the_same_seed_gives_the_same(small: SearchSpace) -> None:
    cost = {"macs": decompose(small, small.macs)}
    problem, scores = problem_of(small, "memory_mb <= 60 %"), random_scores(small, 3, True)
    one, two = (starting_codes(problem, scores, cost, 6, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_ceilings_against_enumeration() -> None:
    space = search_spaces.get("fbnet", depths=[1, 1, 1], widths=[8, 8, 16], strides=[1, 1, 2])
    codes, rng = all_codes(space), np.random.default_rng(0)
    cost, score = decompose(space, space.macs), random_scores(space, 0, True)
    evaluated = codes[rng.permutation(len(codes))[:40]]
    values = score(evaluated) + rng.normal(size=40)
    limits = np.quantile(cost(codes), [0.0, 0.1, 0.5, 1.0])
    rows = ceilings(IntegerProgram(score, {"macs": cost}), "macs", limits.tolist(), evaluated, values)
    for row, limit in zip(rows, limits, strict=True):
        kept = cost(evaluated) <= limit
        assert row.limit == limit
        assert row.bound == pytest.approx(score(codes)[cost(codes) <= limit].max(), abs=1e-6)
        assert row.score == (score(evaluated)[kept].max() if kept.any() else -np.inf)
        assert row.value == (values[kept].max() if kept.any() else -np.inf)
    assert rows[0].score == -np.inf
