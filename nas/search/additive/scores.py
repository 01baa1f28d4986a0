"""Scores that add up, from evaluations: of one base network with one choice replaced, or of any networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.additive.places import Place, ancestors, choice_places
from nas.search.additive.sums import Additive
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Penalties that are tried, relative to the largest squared singular value.
PENALTIES = np.logspace(-8, 1, 37)


def replacements(space: SearchSpace, base: Architecture) -> Codes:
    """The networks that `additive_scores` evaluates, the base first, each once."""
    row = space.codes([base])[0]
    rows = [_replaced(space, row, column, option) for column, option in _options(space)]
    codes = space.canonical(np.array([row, *rows], dtype=np.int64))
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]


def additive_scores(space: SearchSpace, evaluate: Callable[[Architecture], float], base: Architecture) -> Additive:
    """What every option gains in a base network, by replacing one choice at a time.

    As the replace-one-block scores of Puzzle (Bercovich et al., "Puzzle: distillation-based NAS for inference-optimized
    LLMs", 2024) and the sensitivities of HAWQ-V3 (Yao et al., ICML 2021). A choice that has no effect in the base is
    scored in the base with the nearest options that give it one. When the evaluation is a sum over the choices that
    have an effect, the sum is found exactly, from 1 + sum of (options - 1) evaluations at most.

    Args:
        space: of the networks.
        evaluate: gives what is to be maximised, such as the accuracy.
        base: a good network is a good base: gains add up near it.
    """
    codes = replacements(space, base)
    score = {
        row.tobytes(): float(evaluate(network)) for row, network in zip(codes, space.architectures(codes), strict=True)
    }

    def scored(column: int, option: int) -> float:
        return score[space.canonical(_replaced(space, row, column, option)[None])[0].tobytes()]

    row = space.codes([base])[0]
    values = [
        np.array([scored(column, option) for option in range(len(choice.options))])
        for column, choice in enumerate(space.choices)
    ]
    gains = [some - some[option] for some, option in zip(values, row, strict=True)]
    return Additive.over(space, choice_places(space), gains, score[codes[0].tobytes()])


def _options(space: SearchSpace) -> list[tuple[int, int]]:
    return [(column, option) for column, choice in enumerate(space.choices) for option in range(len(choice.options))]


def _replaced(space: SearchSpace, row: NDArray[np.int64], column: int, option: int) -> NDArray[np.int64]:
    """`row` with another option, and with what this option needs to have an effect."""
    row = row.copy()
    row[column] = option
    for above in ancestors(space, column):
        required = space.choices[column].requires
        values = required[1] if required else ()
        allowed = [number for number, value in enumerate(space.choices[above].options) if value in values]
        if row[above] not in allowed:
            row[above] = min(allowed, key=lambda number: abs(number - row[above]))
        column = above
    return row


def fitted_scores(
    space: SearchSpace, codes: Codes, values: Values, places: Sequence[Place], weights: Values | None = None
) -> Additive:
    """Ridge regression of evaluations on which variant each place has (Hoerl and Kennard, Technometrics 1970).

    The penalty is the one with the least error of predicting each network from the others (Allen, Technometrics 1974).
    A variant that none of the networks has is taken for an average one.

    Args:
        space: of the networks.
        codes: of evaluated networks, shape (n, choices).
        values: what is to be maximised, shape (n,).
        places: what counts: `choice_places(space)`, `slot_places(space)`, or both together.
        weights: of the squared errors, above zero, shape (n,); equal ones by default.

    Raises:
        ValueError: when there are fewer than 3 networks, shapes differ, or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(codes),) or len(codes) < 3:
        raise ValueError(f"a fit needs 3 networks or more and a value of each, not {len(codes)} and {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("a value to be fitted is not a finite number")
    codes = space.canonical(codes)
    inputs = np.concatenate([_one_hot(place, codes) for place in places], axis=1)
    weights = np.ones(len(codes)) if weights is None else weights * len(codes) / weights.sum()
    means, mean = weights @ inputs / len(codes), float(weights @ values / len(codes))
    gains = _ridge(inputs - means, values - mean, weights)
    by_place = np.split(gains, np.cumsum([place.count for place in places])[:-1])
    return Additive.over(space, places, by_place, mean - float(means @ gains))


def _one_hot(place: Place, codes: Codes) -> Values:
    """Which variant a place has in each network, shape (n, variants)."""
    variants = place.variants[tuple(codes[:, column] for column in place.columns)]
    return np.asarray(variants[:, None] == np.arange(place.count), dtype=np.float64)


def _ridge(inputs: Values, targets: Values, weights: Values) -> Values:
    """Gains, shape (columns,), of inputs, shape (n, columns), and targets whose weighted means are zero."""
    roots = np.sqrt(weights)
    left, singular, right = np.linalg.svd(roots[:, None] * inputs, full_matrices=False)
    squares, projected = singular**2, left.T @ (roots * targets)
    largest = max(float(squares.max(initial=0.0)), 1e-300)
    losses = []
    for penalty in PENALTIES * largest:
        shrunk = squares / (squares + penalty)
        leverage = weights / len(targets) + (left**2) @ shrunk
        residual = roots * targets - left @ (shrunk * projected)
        losses.append(float(np.mean((residual / np.maximum(1 - leverage, 1e-9)) ** 2)))
    penalty = PENALTIES[int(np.argmin(losses))] * largest
    gains: Values = right.T @ (singular / (squares + penalty) * projected)
    return gains
