"""The bound of the additive model, against going through all networks of a space."""

from __future__ import annotations

import numpy as np
import pytest
from additive_truths import choice_truth

import search_spaces
from nas.errors import UsageError
from nas.search.additive_bound import additive_bound
from nas.search.feasibility import all_codes
from nas.search.metrics import ACCURACY, Direction, Metric
from search_spaces import SearchSpace
from search_spaces.space import Codes


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get("fbnet", depths=[1, 1, 1], widths=[8, 8, 16], strides=[1, 1, 2])


def macs(space: SearchSpace) -> Metric:
    return Metric("macs_m", "minimize", "M", lambda codes: space.macs(codes) / 1e6)


def spared(space: SearchSpace) -> Metric:
    """More is better: parameters below a million."""
    return Metric("spared", "maximize", "", lambda codes: 1e6 - space.parameters(codes))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_of_a_sum_it_is_the_best_that_there_is(space: SearchSpace, direction: Direction) -> None:
    """The model finds an additive truth, and then the bound is one of the truth."""
    codes, truth, sign = all_codes(space), choice_truth(space, 0), 1 if direction == "maximize" else -1
    objective, cheap = Metric("quality", direction, ""), [macs(space), spared(space)]
    networks = codes[np.random.default_rng(0).permutation(len(codes))[:12]]
    found = additive_bound(space, [objective, *cheap], codes, truth(codes), networks)
    cost, other = (metric.values(codes) for metric in cheap if metric.values)
    for network, bound, modelled in zip(networks, found.bound, found.modelled, strict=True):
        row = int(np.flatnonzero((codes == network).all(axis=1))[0])
        kept = (cost <= cost[row] + 1e-9) & (other >= other[row] - 1e-9)
        assert sign * bound == pytest.approx((sign * truth(codes[kept])).max(), abs=1e-3)
        assert modelled == pytest.approx(truth(network[None])[0], abs=1e-3)
    assert (found.objective, found.costs, found.fitted) == ("quality", ("macs_m", "spared"), len(codes))
    assert found.error < 1e-3


def test_it_is_no_bound_of_what_does_not_add_up(space: SearchSpace) -> None:
    codes, rng = all_codes(space), np.random.default_rng(1)
    evaluated = codes[rng.permutation(len(codes))[:40]]
    values = rng.normal(size=len(evaluated))
    found = additive_bound(space, [ACCURACY, macs(space)], evaluated, values, evaluated)
    assert (found.bound >= found.modelled - 1e-6).all()
    assert (found.bound < values - 0.1).any()
    assert found.error > 0.1


def test_no_networks_have_no_bounds(space: SearchSpace) -> None:
    codes = all_codes(space)[:5]
    assert additive_bound(space, [ACCURACY, macs(space)], codes, np.arange(5.0), codes[:0]).bound.shape == (0,)


def test_what_does_not_allow_it(space: SearchSpace) -> None:
    def bound(objectives: list[Metric], codes: Codes) -> None:
        additive_bound(space, objectives, codes, np.zeros(len(codes)), codes)

    codes = all_codes(space)
    with pytest.raises(UsageError, match=r"3 networks or more .* there are 2: let 'nas search' evaluate more"):
        bound([ACCURACY, macs(space)], codes[:2])
    with pytest.raises(UsageError, match=r"others that are predicted; the objectives of this run are accuracy$"):
        bound([ACCURACY], codes)
    with pytest.raises(UsageError, match="the objectives of this run are macs_m"):
        bound([macs(space)], codes)
