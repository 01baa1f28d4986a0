"""A number of a network that is a sum over its places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.additive.places import LEFT_OUT, Columns, Place
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

    @classmethod
    def over(
        cls, space: SearchSpace, places: Sequence[Place], values: Sequence[Values], constant: float = 0.0
    ) -> Additive:
        """The sum of a number for the variant that each place has; a place that is left out adds nothing.

        Args:
            space: of the networks.
            places: see `choice_places` and `slot_places`.
            values: for each place, of its variants by their numbers, shape (variants,).
            constant: what all networks have.

        Raises:
            ValueError: when numbers are missing or not finite.
        """
        tables: dict[Columns, Values] = {}
        for place, some in zip(places, values, strict=True):
            some = np.asarray(some, dtype=np.float64)
            if some.shape != (place.count,) or not np.isfinite(some).all():
                raise ValueError(f"a place with {place.count} variants needs as many finite numbers, not {some}")
            table = np.where(place.variants == LEFT_OUT, 0.0, some[place.variants])
            tables[place.columns] = tables.get(place.columns, 0.0) + table
        return cls(space, constant, tables)

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
