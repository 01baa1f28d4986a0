"""The default sampler with two objectives that are known by evaluation alone, against the front of a whole space."""

from __future__ import annotations

import numpy as np
import pytest

from nas.search.limits import Limit
from nas.search.metrics import Metric
from nas.search.pareto import hypervolume
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.samplers.batch import BatchSampler, History
from nas.testing.searches import MadeUp, Values, made_up_space
from search_spaces.space import Codes

SPACE = made_up_space()
TRUTH = MadeUp(SPACE)
EVERYTHING = np.unique(SPACE.random_codes(60_000, np.random.default_rng(0)), axis=0)


def bits(codes: Codes) -> Values:
    """To be minimised: lower for more accurate networks, on a curve."""
    return np.asarray(1.5 + np.exp(-2 * TRUTH.accuracy(codes)))


def recall(codes: Codes) -> Values:
    """To be maximised: what takes memory helps, and what is accurate a little."""
    memory = TRUTH.memory(codes)
    return np.asarray(0.8 * memory / TRUTH.memory(EVERYTHING).max() + 0.2 * TRUTH.accuracy(codes))


def problem(order: tuple[int, ...], goals: tuple[Limit, ...] = ()) -> Problem:
    """Bits, recall, and a cost that is cheap, in some order; costs above the median are not allowed."""
    most = float(np.median(TRUTH.cost(EVERYTHING)))
    metrics = (
        Metric("bits_per_byte", "minimize", ""),
        Metric("recall", "maximize", ""),
        Metric("decode_ms.local", "minimize", "ms", TRUTH.cost),
    )
    picked = tuple(metrics[place] for place in order)
    return Problem(SPACE, picked, lambda codes: np.maximum(0, TRUTH.cost(codes) - most), goals)


def values(codes: Codes, order: tuple[int, ...]) -> Values:
    functions = (bits, recall, TRUTH.cost)
    return np.stack([functions[place](codes) for place in order], axis=1)


def search(found: Problem, order: tuple[int, ...], n: int) -> Codes:
    sampler = make_sampler("screened", {}, found, 0)
    assert isinstance(sampler, BatchSampler)
    codes = EVERYTHING[:0]
    while len(codes) < n:
        past = History(codes, values(codes, order), codes[:0])
        codes = np.concatenate([codes, sampler.batch(past, 10, np.random.default_rng(len(codes))).codes])
    return codes


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0)])
def test_the_front_of_two_evaluated_objectives_is_found(order: tuple[int, ...]) -> None:
    wanted = problem(order)
    allowed = EVERYTHING[wanted.violation(EVERYTHING) <= 0]
    every = values(allowed, order) * wanted.signs

    def volume(codes: Codes) -> float:
        return hypervolume(values(codes, order) * wanted.signs, every.max(axis=0))

    codes = search(wanted, order, 60)
    assert (wanted.violation(codes) <= 0).all()
    chance = np.mean([volume(np.random.default_rng(seed).permutation(allowed)[:60]) for seed in range(20)])
    best = volume(allowed)
    assert best - volume(codes) < 0.3 * (best - chance)


def test_goals_of_either_direction_draw_the_search() -> None:
    """Networks that reach both goals are rare, and the search comes to evaluate mostly those."""
    order = (0, 1, 2)
    goals = (Limit("bits_per_byte", 1, float(np.quantile(bits(EVERYTHING), 0.2))), Limit("recall", -1, 0.6))
    wanted = problem(order, goals)
    codes = search(wanted, order, 60)
    reached = wanted.goals_missed(values(codes, order)) == 0
    allowed = EVERYTHING[wanted.violation(EVERYTHING) <= 0]
    share = (wanted.goals_missed(values(allowed, order)) == 0).mean()
    assert share < 0.2
    assert reached[-30:].mean() > 2 * share
