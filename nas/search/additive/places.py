"""The places of a network that can count by themselves: its slots, or its choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace, Variant
from search_spaces.space import Codes

#: Numbers of choices, ascending.
Columns = tuple[int, ...]

#: In place of the number of a variant: the place is left out of the network.
LEFT_OUT = -1

#: Combinations of options that one place may have: each becomes a variable of the integer program.
MOST_VARIANTS = 10_000


@dataclass(frozen=True, eq=False)
class Place:
    """A part of every network of a space.

    Attributes:
        columns: the choices that it depends on; with every choice also those that decide whether it has an effect.
        variants: number of the place's variant for each combination of their options, in the shape of these options'
            numbers; `LEFT_OUT` where the place is left out.
    """

    columns: Columns
    variants: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many variants there are: they have the numbers below."""
        return int(self.variants.max()) + 1


def choice_places(space: SearchSpace) -> list[Place]:
    """A place for each choice, whose variants are the options; it is left out where the choice has no effect.

    Raises:
        ValueError: when a choice and those that it requires have more than `MOST_VARIANTS` combinations.
    """
    places = []
    for column, choice in enumerate(space.choices):
        columns = closure(space, [column])
        codes = combinations(space, columns, f"choice {choice.name!r}")
        options = np.where(space.active(codes)[:, column], codes[:, column], LEFT_OUT)
        places.append(Place(columns, options.reshape(radices(space, columns))))
    return places


def slot_places(space: SearchSpace, phase: str = "inference") -> list[Place]:
    """A place for each set of choices that slots depend on: slots that depend on the same choices are one.

    Slots that depend on no choice, such as a fixed stem, or that are always left out in this phase, are not there.

    Raises:
        ValueError: when a slot has more than `MOST_VARIANTS` combinations of options.
    """
    slots: dict[Columns, list[int]] = {}
    for number, columns in enumerate(slot_columns(space)):
        slots.setdefault(columns, []).append(number)
    names = [choice.name for choice in space.choices]
    options = [choice.options for choice in space.choices]
    places = []
    for columns, numbers in slots.items():
        known: dict[tuple[Variant | None, ...], int] = {(None,) * len(numbers): LEFT_OUT}
        variants = []
        for row in combinations(space, columns, f"slot {space.slots[numbers[0]].name!r}").tolist():
            values = {names[column]: options[column][row[column]] for column in columns}
            found = tuple(space.slots[number].variant(values, phase) for number in numbers)
            variants.append(known.setdefault(found, len(known) - 1))
        if columns and max(variants) > LEFT_OUT:
            places.append(Place(columns, np.array(variants, dtype=np.int64).reshape(radices(space, columns))))
    return places


def slot_columns(space: SearchSpace) -> list[Columns]:
    """The choices that each slot depends on, as in `Place.columns`."""
    number = {choice.name: column for column, choice in enumerate(space.choices)}
    return [closure(space, [number[name] for name in slot.choices]) for slot in space.slots]


def closure(space: SearchSpace, columns: Sequence[int]) -> Columns:
    """These choices and all that decide whether they have an effect."""
    return tuple(sorted({found for column in columns for found in (column, *ancestors(space, column))}))


def ancestors(space: SearchSpace, column: int) -> list[int]:
    """The choice that a choice requires, the one that this requires, and so on."""
    number = {choice.name: index for index, choice in enumerate(space.choices)}
    found = []
    while (required := space.choices[column].requires) is not None:
        column = number[required[0]]
        found.append(column)
    return found


def radices(space: SearchSpace, columns: Columns) -> tuple[int, ...]:
    """How many options each of the choices has."""
    return tuple(len(space.choices[column].options) for column in columns)


def combinations(space: SearchSpace, columns: Columns, what: str, base: Codes | None = None) -> Codes:
    """All combinations of the options of some choices, canonical, the last choice fastest.

    Args:
        space: of the choices.
        columns: see `Place.columns`.
        what: whose choices they are, for the error.
        base: a row with the options of all other choices, shape (choices,); the first ones by default.

    Returns:
        Shape (product of the numbers of options, choices); combinations that make the same network are equal rows.

    Raises:
        ValueError: when there are more than `MOST_VARIANTS`.
    """
    sizes = radices(space, columns)
    if prod(sizes) > MOST_VARIANTS:
        named = ", ".join(space.choices[column].name for column in columns)
        raise ValueError(
            f"{what} of space {space.name!r} has {prod(sizes):,} combinations of {named}, more than {MOST_VARIANTS:,}: "
            "too many for an integer program; give these choices fewer options"
        )
    codes = (
        np.zeros((prod(sizes), len(space.choices)), dtype=np.int64) if base is None else np.tile(base, (prod(sizes), 1))
    )
    if columns:
        codes[:, list(columns)] = np.indices(sizes).reshape(len(sizes), -1).T
    return space.canonical(codes)
