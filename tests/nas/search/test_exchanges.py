"""Neighbours against those found by comparing a network with all networks of the space."""

from __future__ import annotations

import numpy as np

from nas.search.feasibility import all_codes
from nas.search.samplers.exchanges import exchanges
from nas.testing.searches import made_up_space
from search_spaces.space import Choice, SearchSpace


def test_neighbours_differ_in_one_choice_that_had_an_effect() -> None:
    space = made_up_space()
    everything = all_codes(space)
    active = space.active(everything)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(everything), 20, replace=False):
        both = active & active[row]
        changed = ((everything != everything[row]) & both).sum(axis=1)
        # A choice that has an effect in one of the two networks only may have any option.
        expected = {tuple(code) for code in everything[changed == 1].tolist()}
        found: set[tuple[int, ...]] = set()
        for _ in range(150):
            neighbours = exchanges(space, everything[row][None], rng).tolist()
            assert len({tuple(code) for code in neighbours}) == len(neighbours)
            found |= {tuple(code) for code in neighbours}
        assert found == expected


def test_neighbours_of_several_are_those_of_each() -> None:
    space = SearchSpace("plain", tuple(Choice(name, (1, 2, 3)) for name in "abcd"), ())
    codes = space.random_codes(5, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    together = {tuple(row) for row in exchanges(space, codes, rng).tolist()}
    assert together == {tuple(row) for code in codes for row in exchanges(space, code[None], rng).tolist()}
    assert exchanges(space, codes[:0], rng).shape == (0, 4)
