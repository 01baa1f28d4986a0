"""Finding the tables of a function that is known to be a sum over slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations as pairs_of

import numpy as np
from numpy.typing import NDArray

from nas.search.additive.places import Columns, combinations, radices, slot_columns
from nas.search.additive.sums import Additive
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Random networks on which the sum is compared with the function.
CHECKED = 256
#: By how much they may differ, relative to the largest value.
TOLERANCE = 1e-7
#: What gains are rounded to, relative to the largest value.
ROUNDED = 1e-13


class NotAdditive(ValueError):
    """The function is not a sum over the slots of its space."""


def decompose(space: SearchSpace, function: Callable[[Codes], Values]) -> Additive:
    """The tables of a function that is a sum over slots, exactly: MACs, parameters, a predictor that adds up.

    This is the decomposition anchored at a point (cut-HDMR; Kuo, Sloan, Wasilkowski, Wozniakowski, "On decompositions
    of multivariate functions", Mathematics of Computation 2010), here the smallest network: a slot's table holds what
    the function gains when all choices of the slot change, less what is in the tables of other slots already.

    Args:
        space: of the networks.
        function: of canonical codes, shape (n, choices), to shape (n,); asked once for every combination of the
            options of every slot.

    Raises:
        NotAdditive: when it is not a sum over slots.
        ValueError: when a slot has too many combinations of options, or a value is not finite.
    """
    largest = _largest(slot_columns(space))
    value, scale, gains = _gains(space, function, largest)
    # Equal gains shall be equal, whatever rounding left of them: the integer program then has fewer variables.
    digit = ROUNDED * scale
    tables: dict[Columns, Values] = {}
    for columns in _shared_first(largest):
        table = next(_alone(gains[other], other, columns) for other in largest if set(columns) <= set(other))
        for other, known in tables.items():
            if set(other) <= set(columns):
                table = table - _spread(known, other, columns)
        if np.any(rounded := np.round(table / digit) * digit):
            tables[columns] = rounded
    found = Additive(space, value, tables)
    _check(found, function)
    return found


def _gains(
    space: SearchSpace, function: Callable[[Codes], Values], every: Sequence[Columns]
) -> tuple[float, float, dict[Columns, Values]]:
    """The value of the smallest network, the largest value, and what changing only some choices gains, for each set."""
    rows = [combinations(space, columns, "a slot") for columns in every]
    codes, places = np.unique(
        np.concatenate([combinations(space, (), "the smallest network"), *rows]), axis=0, return_inverse=True
    )
    values = np.asarray(function(codes), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"the function is not a finite number for some networks of space {space.name!r}")
    smallest, *gains = np.split(values[places.reshape(-1)], np.cumsum([1, *map(len, rows)])[: len(rows)])
    tables = {
        columns: (some - smallest).reshape(radices(space, columns)) for columns, some in zip(every, gains, strict=True)
    }
    return float(smallest[0]), float(np.abs(values).max() or 1.0), tables


def _largest(every: Sequence[Columns]) -> list[Columns]:
    """Those that are not part of another, each once."""
    distinct = list(dict.fromkeys(columns for columns in every if columns))
    return [columns for columns in distinct if not any(set(columns) < set(other) for other in distinct)]


def _shared_first(largest: Sequence[Columns]) -> list[Columns]:
    """All choices alone, what slots share, and the slots, the shorter first; closed under intersection.

    A gain of choices that several slots share is then in a table of its own, and each slot's table stays small.
    """
    every = {(column,) for columns in largest for column in columns} | set(largest)
    while new := {tuple(sorted(set(one) & set(two))) for one, two in pairs_of(every, 2)} - every - {()}:
        every |= new
    return sorted(every, key=lambda columns: (len(columns), columns))


def _alone(table: Values, columns: Columns, kept: Columns) -> Values:
    """The gains when only the choices `kept` change."""
    return table[tuple(slice(None) if column in kept else 0 for column in columns)]


def _spread(table: Values, columns: Columns, wider: Columns) -> Values:
    """The same gains with an axis, of length 1, for each choice that they do not depend on."""
    return table[tuple(slice(None) if column in columns else None for column in wider)]


def _check(found: Additive, function: Callable[[Codes], Values]) -> None:
    codes = found.space.random_codes(CHECKED, np.random.default_rng(0))
    truth = function(codes)
    missed = float(np.abs(found(codes) - truth).max() / (np.abs(truth).max() or 1.0))
    if not missed <= TOLERANCE:
        raise NotAdditive(
            f"the function is not a sum over the slots of space {found.space.name!r}: the sum misses random networks "
            f"by up to {missed:.2g} of the largest value; fit one with fitted_scores"
        )
