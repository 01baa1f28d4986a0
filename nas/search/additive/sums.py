"""A number of a network that is a sum over its places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.additive.places import Columns
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Additive:
    """A sum of tables, each of which depends on a few choices.

    Attributes:
        space: of the networks.
        constant: what all networks have.
        tables: by the choices that they depend on (see `Place.columns`): a number for each combination of the options,
            in the shape of the options' numbers.
    """

    space: SearchSpace
    constant: float
    tables: Mapping[Columns, Values]

    def __call__(self, codes: Codes) -> Values:
        """The sum for each of the networks `codes`, shape (n, choices); shape (n,)."""
        codes = self.space.canonical(codes)
        total = np.full(len(codes), self.constant)
        for columns, table in self.tables.items():
            total += table[tuple(codes[:, column] for column in columns)]
        return total

    def __neg__(self) -> Additive:
        """The same with the other sign, so that a lower bound becomes an upper one."""
        return Additive(self.space, -self.constant, {columns: -table for columns, table in self.tables.items()})

    @property
    def span(self) -> float:
        """Not less than the difference between any two networks."""
        return float(sum(table.max() - table.min() for table in self.tables.values()))
