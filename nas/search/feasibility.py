"""Whether limits can be met at all, from what is known without training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.space import Codes


def least_violation(
    space: SearchSpace, violation: Callable[[Codes], NDArray[np.float64]], seed: int, n: int = 512, rounds: int = 30
) -> Codes:
    """The architecture that misses the limits least, found by a small evolutionary search; shape (1, choices).

    Args:
        violation: of many candidates, shape (n,); the search stops as soon as one has none.
        n: candidates a round.
        rounds: how many rounds at most.
    """
    rng = np.random.default_rng(seed)
    ends = space.codes([space.smallest(), space.largest()])
    codes = np.concatenate([ends, space.random_codes(n, rng)])
    for _ in range(rounds):
        missed = violation(codes)
        best = np.argsort(missed, kind="stable")[: max(2, n // 8)]
        if missed[best[0]] <= 0:
            break
        parents = codes[best]
        a, b = (parents[rng.integers(len(parents), size=n)] for _ in range(2))
        children = space.mutate(space.crossover(a, b, rng), 1.5 / len(space.choices), rng)
        codes = np.concatenate([parents, children])
    best_row: Codes = codes[np.argmin(violation(codes))][None]
    return best_row


def all_codes(space: SearchSpace) -> Codes:
    """Every architecture once, as canonical codes of shape (space.size, choices)."""
    codes = np.zeros((1, len(space.choices)), dtype=np.int64)
    for column, choice in enumerate(space.choices):  # what decides whether it has an effect comes before it
        active = space.active(codes)[:, column]
        options = np.tile(np.arange(len(choice.options)), int(active.sum()))
        expanded = np.repeat(codes[active], len(choice.options), axis=0)
        expanded[:, column] = options
        codes = np.concatenate([codes[~active], expanded])
    return codes
