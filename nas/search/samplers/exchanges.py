"""The networks that differ from a given one in one choice."""

from __future__ import annotations

import numpy as np

from nas.search.problem import Problem
from search_spaces import SearchSpace
from search_spaces.space import Codes


def exchanges(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """All one-exchange neighbours of some networks: one choice that has an effect gets another of its options.

    Choices that only then take effect are drawn at random.

    Args:
        space: of the networks.
        codes: canonical, shape (n, choices).
        rng: draws those choices.

    Returns:
        Canonical codes, each row once, in lexicographic order.
    """
    radices = np.array([len(choice.options) for choice in space.choices])
    active = space.active(codes)
    filled = np.where(active, codes, rng.integers(0, radices, size=codes.shape))
    found = [np.zeros((0, len(radices)), dtype=np.int64)]
    for column, options in enumerate(radices):
        rows = filled[active[:, column]]
        for step in range(1, options):
            changed = rows.copy()
            changed[:, column] = (rows[:, column] + step) % options
            found.append(changed)
    return np.unique(space.canonical(np.concatenate(found)), axis=0)


def allowed(problem: Problem, codes: Codes, seen: set[bytes]) -> Codes:
    """Those of `codes`, shape (n, choices), that keep the cheap limits and were not seen, in their order."""
    codes = codes[problem.violation(codes) <= 0]
    new: Codes = codes[np.array([row.tobytes() not in seen for row in codes], dtype=bool)]
    return new
