"""Latency-driven slimming: from a large network to a limit, each time by what is least important for what it saves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.training.differentiable.distribution import Distribution
from nas.training.strategy import Cost
from search_spaces import SearchSpace
from search_spaces.space import Codes

#: A share of a cost; two costs of one network that differ by less are the same, as sums in another order are.
ROUNDING = 1e-9


def slim(distribution: Distribution, cost: Cost, limit: float) -> Codes:
    """The networks on the way from a large one to one that keeps a limit (EfficientFormer, Li et al., NeurIPS 2022).

    The first one has the last option of each choice, and of choices without order, such as kinds of blocks, the most
    probable one. From then on the change of one choice is made that loses the least importance per unit of cost that
    it saves, among all changes that save some. What a change loses is a difference of logarithms of probabilities (see
    `importance`); where blocks can be skipped this is the paper's score, the probability of a block over that of the
    identity, as a logarithm. Choices that a change brings into effect have the options with which the first network
    would have had them. Where no change saves anything the smallest network is the last one.

    Args:
        distribution: over the networks.
        cost: of many networks; it need not be a sum over slots.
        limit: of the cost.

    Returns:
        Canonical codes, shape (n, choices), n >= 1; costs fall from row to row, and only the last one keeps the limit.

    Raises:
        ValueError: when the smallest network is above the limit.
    """
    space = distribution.space
    check_limit(space, cost, limit)
    current = _first(distribution)
    path = [space.canonical(current)]
    reached = float(cost(path[0])[0])
    while reached > limit:
        changed = _changes(space, current)
        networks = space.canonical(changed)
        costs = cost(networks)
        saved = reached - costs
        lost = importance(distribution, path[-1]) - importance(distribution, networks)
        saving = np.flatnonzero(saved > ROUNDING * reached)
        if not saving.size:
            return np.concatenate([*path, space.codes([space.smallest()])])
        best = saving[np.argmin(lost[saving] / saved[saving])]
        current = changed[best : best + 1]
        path.append(networks[best : best + 1])
        reached = float(costs[best])
    return np.concatenate(path)


def importance(distribution: Distribution, codes: Codes) -> NDArray[np.float64]:
    """How probable networks are: 0 for the most probable one, less for all others.

    It is the sum over the choices that have an effect of the log-probability of the option less that of the most
    probable option. So a network is not the more probable the fewer choices have an effect in it.

    Args:
        distribution: over the networks.
        codes: canonical, shape (n, choices).

    Returns:
        Shape (n,).
    """
    logits = [logits.detach().double().numpy() for logits in distribution.logits]
    terms = [(some - some.max())[column] for some, column in zip(logits, codes.T, strict=True)]
    scores: NDArray[np.float64] = np.where(distribution.space.active(codes), np.stack(terms, axis=1), 0.0).sum(axis=1)
    return scores


def check_limit(space: SearchSpace, cost: Cost, limit: float) -> None:
    """Refuse a limit that cannot be kept.

    Raises:
        ValueError: when the smallest network is above it.
    """
    least = float(cost(space.codes([space.smallest()]))[0])
    if least > limit:
        raise ValueError(f"limit is {limit:g}, but the smallest network of the space has {least:.4g}; give more")


def _first(distribution: Distribution) -> Codes:
    """Options of all choices, of those without an effect too, shape (1, choices)."""
    options = [
        len(choice.options) - 1 if choice.ordered else int(logits.argmax())
        for choice, logits in zip(distribution.space.choices, distribution.logits, strict=True)
    ]
    return np.array([options], dtype=np.int64)


def _changes(space: SearchSpace, row: Codes) -> Codes:
    """All that differ from a row in at most one choice, shape (all options, choices)."""
    counts = [len(choice.options) for choice in space.choices]
    changed = np.repeat(row, sum(counts), axis=0)
    columns = np.repeat(np.arange(len(counts)), counts)
    changed[np.arange(len(changed)), columns] = np.concatenate([np.arange(count) for count in counts])
    return changed
