"""Distances of networks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

import search_spaces
from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.gaussian_process import squared_distances
from nas.testing.searches import single_space
from search_spaces import SearchSpace
from search_spaces.space import Choice

SPACE = SearchSpace(
    "small",
    (
        Choice("kind", ("a", "b", "c"), ordered=False),
        Choice("only", (1,)),
        Choice("depth", (1, 2)),
        Choice("width", (8, 16, 24), requires=("depth", (2,))),
        Choice("size", (8, 16, 24)),
    ),
    (),
)


def distances(described: Described, group: int) -> np.ndarray:
    return squared_distances(described.groups[group], described.groups[group])


def test_distances_of_choices() -> None:
    """Of four choices that vary: a kind counts 1, neighbours of three ordered options 3/4, no effect 1."""
    codes = np.array(
        [[0, 0, 1, 0, 0], [1, 0, 1, 0, 0], [2, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 2, 2], [0, 0, 0, 0, 1]]
    )
    expected = np.array([0, 1, 1, 0.75, 2, 2 + 0.75]) / 4
    np.testing.assert_allclose(distances(Descriptors(SPACE)(codes), 0)[0], expected, atol=1e-6)
    shallow = np.array([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 2, 0]])
    np.testing.assert_allclose(distances(Descriptors(SPACE)(shallow), 0)[0], [0, 0.5, 0.5, 0.5], atol=1e-6)


def test_counts_do_not_tell_places_apart() -> None:
    """Width and size have the same options: where an option occurs does not matter to the second group."""
    codes = np.array([[0, 0, 1, 2, 0], [0, 0, 1, 0, 2], [0, 0, 1, 2, 2], [0, 0, 0, 0, 2]])
    between = distances(Descriptors(SPACE)(codes), 1)
    assert between[0, 1] == pytest.approx(0, abs=1e-5)
    assert (between[0, 2:] > 0.1).all()
    assert between[2, 3] > 0.1


def test_without_slots_there_are_no_costs() -> None:
    codes = SPACE.random_codes(10, np.random.default_rng(0))
    described = Descriptors(SPACE)(codes)
    assert described.groups[2].shape == (10, 0)
    assert (distances(described, 2) == 0).all()


@pytest.mark.parametrize(("name", "options"), [("nasbench201", {"cells": 1}), ("convnet", {})])
def test_groups_are_alike_in_scale_and_without_constants(name: str, options: dict[str, int]) -> None:
    """Two random networks have a mean squared distance of 2 in standardised columns."""
    space = search_spaces.get(name, **options)
    described = Descriptors(space)(space.random_codes(500, np.random.default_rng(9)))
    for group in (1, 2):
        columns = described.groups[group]
        assert np.isfinite(columns).all()
        assert (columns.std(0) > 0).all()
        assert distances(described, group).mean() == pytest.approx(2, rel=0.25)
    assert (distances(described, 0) <= 1 + 1e-5).all()
    costs = space.features(space.random_codes(500, np.random.default_rng(9)))
    assert (costs.std(0) == 0).any()  # columns that must be left out


def test_one_network() -> None:
    described = Descriptors(single_space())(np.zeros((1, 2), dtype=np.int64))
    assert [group.shape[0] for group in described.groups] == [1, 1, 1]
    assert all(np.isfinite(group).all() for group in described.groups)


def test_taking_and_joining() -> None:
    describe = Descriptors(SPACE)
    codes = SPACE.random_codes(6, np.random.default_rng(1))
    parts = Described.joined([describe(codes[:2]), describe(codes[2:])])
    rows = np.array([4, 0])
    for mine, whole in zip(parts.take(rows).groups, describe(codes).groups, strict=True):
        np.testing.assert_allclose(mine, whole[rows], atol=1e-6)
