"""Finding out whether limits can be met."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import search_spaces
from nas.search.feasibility import all_codes, least_violation
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]
Violation = Callable[[Codes], Values]


def distance_to(target: Codes, allowed: int, space: SearchSpace) -> Violation:
    """Violation that is zero within `allowed` differing choices of one architecture."""

    def violation(codes: Codes) -> Values:
        return np.maximum(0.0, (space.canonical(codes) != target).sum(axis=1) - allowed)

    return violation


@pytest.mark.parametrize("seed", range(5))
def test_finds_a_feasible_one_among_thousands(small: SearchSpace, seed: int) -> None:
    draws = small.random_codes(200, np.random.default_rng(100 + seed))
    target = draws[small.active(draws).sum(axis=1).argmax()][None]  # deep ones are drawn least often
    violation = distance_to(target, 1, small)
    share = (violation(small.random_codes(20_000, np.random.default_rng(1))) <= 0).mean()
    assert share < 0.001
    best = least_violation(small, violation, seed)
    assert best.shape == (1, len(small.choices))
    assert violation(best)[0] == 0


def test_the_nearest_one_when_there_is_none(tiny: SearchSpace) -> None:
    cost = tiny.macs(all_codes(tiny))

    def violation(codes: Codes) -> Values:
        return (tiny.macs(codes) - 0.9 * cost.min()) / cost.min()

    best = least_violation(tiny, violation, 0)
    assert violation(best)[0] > 0
    assert tiny.macs(best)[0] == cost.min()


def test_same_seed_same_answer(small: SearchSpace) -> None:
    violation = distance_to(small.random_codes(1, np.random.default_rng(7)), 3, small)
    first, second = (least_violation(small, violation, 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_all_codes_are_all(tiny: SearchSpace) -> None:
    small_convnet = search_spaces.get(
        "convnet", resolutions=[8], stem=8, widths=[[16, 24]], strides=[1], depths=[[1, 2]], group_width=4
    )
    for space in (tiny, small_convnet):
        codes = all_codes(space)
        assert len({row.tobytes() for row in codes}) == len(codes) == space.size
        np.testing.assert_array_equal(space.canonical(codes), codes)
