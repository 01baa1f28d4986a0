"""Architectures as binary variables, and sums over tables as linear functions of variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array

from nas.search.additive.places import Columns, ancestors, closure, combinations
from nas.search.additive.sums import Additive
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]


class Variables:
    """Variables of an integer program: first the options of all choices, then the variants of tables.

    Args:
        space: of the architectures.
        sums: functions of an architecture.

    Attributes:
        constants: of each of the sums: what all architectures have, shape (sums,).
        weights: of each of the sums, shape (sums, variables).
        integrality: 1 for variables that are binary, shape (variables,).
        constraints: hold for all architectures, and for nothing else.
    """

    def __init__(self, space: SearchSpace, sums: Sequence[Additive]) -> None:
        self.space = space
        self._first = np.cumsum([0, *(len(choice.options) for choice in space.choices)])
        options = int(self._first[-1])
        linear = np.zeros((len(sums), options))
        tables = []
        self.constants = np.array([one.constant for one in sums])
        for columns, stack in _stacked(sums).items():
            if not columns:
                self.constants += stack
            elif len(columns) == 1:
                linear[:, self._slice(columns[0])] += stack
            else:
                tables.append(_merged(space, columns, stack))
        self.weights = np.concatenate([linear, *(table.values for table in tables)], axis=1)
        self.integrality = (np.arange(self.weights.shape[1]) < options).astype(np.int64)
        self.constraints = [self._one_each(), *self._inactive(), *self._links(tables)]

    def codes(self, solution: Values) -> Codes:
        """The architecture of a solution, shape (1, choices)."""
        rows = [[int(np.argmax(solution[self._slice(column)])) for column in range(len(self.space.choices))]]
        return self.space.canonical(np.array(rows, dtype=np.int64))

    def picked(self, codes: Codes) -> csr_array:
        """The variables that are 1 in canonical codes, shape (n, variables)."""
        places = codes + self._first[:-1]
        rows = np.repeat(np.arange(len(codes)), places.shape[1])
        return csr_array((np.ones(places.size), (rows, places.ravel())), shape=(len(codes), self.weights.shape[1]))

    def _slice(self, column: int) -> slice:
        return slice(int(self._first[column]), int(self._first[column + 1]))

    def _one_each(self) -> LinearConstraint:
        sizes = np.diff(self._first)
        return _rows(
            np.repeat(np.arange(len(sizes)), sizes), np.arange(sizes.sum()), None, self.weights.shape[1], 1.0, 1.0
        )

    def _inactive(self) -> list[LinearConstraint]:
        """An option other than the first only where each of the choices above has a value that is required."""
        rows, columns, signs, count = [], [], [], 0
        for column, choice in enumerate(self.space.choices):
            child = choice
            for above in ancestors(self.space, column):
                parent, required = self.space.choices[above], child.requires
                allowed = [i for i, value in enumerate(parent.options) if required and value in required[1]]
                mine = range(int(self._first[column]) + 1, int(self._first[column + 1]))
                theirs = [int(self._first[above]) + option for option in allowed]
                columns += [*mine, *theirs]
                signs += [1.0] * len(mine) + [-1.0] * len(theirs)
                rows += [count] * (len(mine) + len(theirs))
                count, child = count + 1, parent
        return [_rows(rows, columns, signs, self.weights.shape[1], -np.inf, 0.0)] if rows else []

    def _links(self, tables: Sequence[_Table]) -> list[LinearConstraint]:
        """The variants with an option (or with one of options that are alike) sum to the variable of that option."""
        rows, columns, signs, count = [], [], [], 0
        start = int(self._first[-1])
        for table in tables:
            variants = np.arange(start, start + table.values.shape[1])
            for column, alike, members in zip(table.columns, table.alike, table.members.T, strict=True):
                options = np.arange(self._first[column], self._first[column + 1])
                rows += [*(count + members), *(count + alike)]
                columns += [*variants, *options]
                signs += [1.0] * len(variants) + [-1.0] * len(options)
                count += int(alike.max()) + 1
            start += len(variants)
        return [_rows(rows, columns, signs, self.weights.shape[1], 0.0, 0.0)] if rows else []


@dataclass(frozen=True, eq=False)
class _Table:
    """The variants of a table that differ.

    Attributes:
        columns: the choices that it depends on.
        alike: for each of them the class of every option: options of one class make no difference.
        members: class of each variant in each of the choices, shape (variants, columns).
        values: of each of the sums, shape (sums, variants).
    """

    columns: Columns
    alike: list[NDArray[np.int64]]
    members: NDArray[np.int64]
    values: Values


def _stacked(sums: Sequence[Additive]) -> dict[Columns, Values]:
    """The tables of all sums by what they depend on, shape (sums, options...)."""
    found: dict[Columns, Values] = {}
    for number, one in enumerate(sums):
        for columns, table in one.tables.items():
            stack = np.zeros((len(sums), *table.shape))
            stack[number] = table
            needed = [axis for axis in range(table.ndim) if np.ptp(table, axis=axis).any()]
            kept = tuple(columns[axis] for axis in needed)
            short = stack[(slice(None), *(slice(None) if axis in needed else 0 for axis in range(table.ndim)))]
            found[kept] = found.get(kept, 0.0) + short
    return found


def _merged(space: SearchSpace, columns: Columns, stack: Values) -> _Table:
    """Options that make no difference become one; combinations that no architecture has are left out."""
    alike, short = [], stack
    for axis in range(len(columns)):
        slices = np.moveaxis(short, 1 + axis, 0)
        _, first, classes = np.unique(slices.reshape(len(slices), -1), axis=0, return_index=True, return_inverse=True)
        alike.append(classes.reshape(-1))
        short = np.take(short, first, axis=1 + axis)
    codes = combinations(space, closure(space, columns), "a table")
    there = np.stack([classes[codes[:, column]] for column, classes in zip(columns, alike, strict=True)], axis=1)
    members = np.unique(there, axis=0)
    return _Table(columns, alike, members, short[(slice(None), *members.T)])


def _rows(
    rows: Sequence[int] | NDArray[np.int64],
    columns: Sequence[int] | NDArray[np.int64],
    signs: Sequence[float] | None,
    variables: int,
    lower: float,
    upper: float,
) -> LinearConstraint:
    values = np.ones(len(rows)) if signs is None else np.array(signs)
    shape = (int(np.max(rows)) + 1, variables)
    return LinearConstraint(csr_array((values, (np.array(rows), np.array(columns))), shape=shape), lower, upper)
