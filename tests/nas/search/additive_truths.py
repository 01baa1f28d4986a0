"""Sums that tests know: computed from values of choices and variants, without the tables of the product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.search.additive import Additive, choice_places, slot_places
from search_spaces import SearchSpace
from search_spaces.space import Codes

Truth = Callable[[Codes], NDArray[np.float64]]


def choice_truth(space: SearchSpace, seed: int) -> Truth:
    """Random gains of all options; a choice without effect gains nothing."""
    rng = np.random.default_rng(seed)
    gains = [rng.normal(size=len(choice.options)) for choice in space.choices]

    def truth(codes: Codes) -> NDArray[np.float64]:
        codes = space.canonical(codes)
        active = space.active(codes)
        return 3.0 + sum(gain[codes[:, column]] * active[:, column] for column, gain in enumerate(gains))

    return truth


def slot_truth(space: SearchSpace, seed: int) -> Truth:
    """A random gain of every workload of every slot, so that choices of a slot interact."""
    slots = space.slot_workloads()
    slots.number_all(5000)
    gains = np.random.default_rng(seed).normal(size=(len(slots.workloads), 1))
    return lambda codes: slots.sums(space.canonical(codes), lambda: gains)[:, 0]


def random_scores(space: SearchSpace, seed: int, slots: bool) -> Additive:
    """A random score of every variant of every slot, or of every option of every choice."""
    rng = np.random.default_rng(seed)
    places = slot_places(space, space.phases[-1]) if slots else choice_places(space)
    return Additive.over(space, places, [rng.exponential(size=place.count) for place in places], rng.normal())
