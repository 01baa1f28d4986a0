"""The sampler that solves integer programs: the contract, and what it must find where the truth is a sum."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
from additive_truths import choice_truth

from nas.errors import UsageError
from nas.search.feasibility import all_codes
from nas.search.metrics import ACCURACY, Metric
from nas.search.pareto import nondominated
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.samplers.batch import BatchSampler, History
from nas.testing.samplers import BatchSamplerContract
from nas.testing.searches import anything, made_up_space


class TestIntegerProgram(BatchSamplerContract):
    sampler = "integer_program"
    options = MappingProxyType({"initial": 10, "batch_size": 5})
    searches = 1  # it solves a program for every network


def test_where_the_truth_is_a_sum_all_proposals_are_on_the_front() -> None:
    """Of 1,872 networks, a quarter of which were evaluated: the front follows by enumeration."""
    space = made_up_space()
    accuracy, cost = choice_truth(space, 1), choice_truth(space, 2)
    everything = all_codes(space)
    values = np.stack([-accuracy(everything), cost(everything)], axis=1)
    rows = np.random.default_rng(0).permutation(len(everything))[:468]
    rest = np.setdiff1d(np.arange(len(everything)), rows)
    front = {row.tobytes() for row in everything[rest][nondominated(values[rest])]}
    metric = Metric("cost", "minimize", "", cost)
    sampler = make_sampler("integer_program", {}, Problem(space, (ACCURACY, metric), anything), 0)
    assert isinstance(sampler, BatchSampler)
    known = everything[rows]
    history = History(known, np.stack([accuracy(known), cost(known)], axis=1), known[:0])
    batch = sampler.batch(history, 6, np.random.default_rng(0))
    found = [row.tobytes() in front for row in batch.codes]
    assert len(found) == 6
    assert sum(found) >= 5  # the last one may be a further solution at a limit whose best network was evaluated
    for row, reason in zip(batch.codes, batch.reasons, strict=True):
        assert reason["predicted"]["accuracy"] == pytest.approx(accuracy(row[None])[0], abs=0.05)


@pytest.mark.parametrize(
    "objectives",
    [(ACCURACY,), (ACCURACY, Metric("perplexity", "minimize", "")), (Metric("a", "minimize", "", anything),) * 2],
)
def test_it_needs_one_objective_that_is_evaluated_and_others_that_are_not(objectives: tuple[Metric, ...]) -> None:
    with pytest.raises(UsageError, match="one objective that is evaluated"):
        make_sampler("integer_program", {}, Problem(made_up_space(), objectives, anything), 0)


def test_one_random_network_is_too_few() -> None:
    problem = Problem(made_up_space(), (ACCURACY, Metric("a", "minimize", "", anything)), anything)
    with pytest.raises(UsageError, match="initial is 1"):
        make_sampler("integer_program", {"initial": 1}, problem, 0)
