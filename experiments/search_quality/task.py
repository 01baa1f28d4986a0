"""What is searched: a space whose best trade-offs are known exactly, so that a search can be compared with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from experiments.few_shot_latency import files
from experiments.few_shot_latency.adaptors import ADAPTORS
from nas.search.metrics import ACCURACY, Metric
from nas.search.pareto import nondominated
from search_spaces import SearchSpace, get
from search_spaces.space import Codes, nearest

Values = NDArray[np.float64]
OfMany = Callable[[Codes], Values]

#: The region of interest: what is less than this many points of accuracy worse than the best one.
POINTS = 10.0


@dataclass(frozen=True, eq=False)
class Task:
    """Accuracy, which costs an evaluation, against a cost that is known.

    Attributes:
        space: of the candidates.
        accuracy: of canonical codes, shape (n,); more is better.
        cost: of canonical codes, shape (n,); less is better.
        unit: of the cost.
        front: all best trade-offs, shape (m, 2): negative accuracy, cost.
        references: worst values that count, (negative accuracy, cost), of the region and of the whole front.
    """

    space: SearchSpace
    accuracy: OfMany
    cost: OfMany
    unit: str
    front: Values
    references: Mapping[str, Values]

    @property
    def best(self) -> float:
        """The highest accuracy of all."""
        return float(-self.front[:, 0].min())

    def objectives(self) -> tuple[Metric, Metric]:
        """As a user's search has them: accuracy is evaluated, the cost is a function of the candidate."""
        return ACCURACY, Metric("cost", "minimize", self.unit, self.cost)

    def values(self, codes: Codes) -> Values:
        """Both to be minimised, shape (n, 2): negative accuracy, cost."""
        return np.stack([-self.accuracy(codes), self.cost(codes)], axis=1)


def references(accuracy: Values, cost: Values, points: float = POINTS) -> dict[str, Values]:
    """The worst values that count: the highest cost of all candidates is the one of both references.

    Args:
        accuracy: of all candidates, shape (n,).
        cost: of all candidates, shape (n,).
        points: how far below the best accuracy the region ends; the whole front ends at the worst accuracy of all.
    """
    highest = float(cost.max())
    return {
        "region": np.array([points - accuracy.max(), highest]),
        "whole": np.array([-accuracy.min(), highest]),
    }


class Lookup:
    """A column of a table of all architectures, as a function of codes.

    Args:
        space: of the architectures.
        codes: canonical, each architecture of the space once, shape (n, choices).
        column: shape (n,).
    """

    def __init__(self, space: SearchSpace, codes: Codes, column: Values) -> None:
        radices = [len(choice.options) for choice in space.choices]
        self._strides = np.cumprod([1, *radices[:-1]])
        self._column = np.full(int(np.prod(radices)), np.nan)
        self._column[codes @ self._strides] = column

    def __call__(self, codes: Codes) -> Values:
        """Of canonical codes, shape (n,)."""
        return np.asarray(self._column[codes @ self._strides])


def from_table(space: str, path: str, joined: Sequence[str], accuracy: str, latency: str) -> Task:
    """The task that a table of all architectures of a space is.

    Args:
        space: name of the space.
        path: a file `*.parquet` or `*.csv`.
        joined: tables with further columns of the same architectures.
        accuracy: column, in percent.
        latency: column, in ms.

    Raises:
        OSError: when there is no such file.
        ValueError: when a file cannot be read, a column is missing or has no number, or architectures are missing.
    """
    if space not in ADAPTORS:
        raise ValueError(f"how a table writes architectures of {space!r} is not known; it is for {', '.join(ADAPTORS)}")
    table = files.read(path)
    for more in joined:
        table = files.join(table, files.read(more), more)
    adaptor = ADAPTORS[space]
    for column in (*adaptor.needs, accuracy, latency):
        if column not in table.column_names:
            raise ValueError(
                f"{path} has no column {column!r}{nearest(column, table.column_names)}; "
                f"it has {', '.join(table.column_names)}. Columns of other files are added with --join"
            )
    made = get(adaptor.space, **adaptor.options)
    codes = made.canonical(adaptor.codes(made, table))
    if len(np.unique(codes, axis=0)) != made.size or len(codes) != made.size:
        raise ValueError(f"{path} has {len(codes)} rows; a search needs each of the {made.size} architectures once")
    return _full(made, codes, _numbers(table, accuracy), _numbers(table, latency))


def _numbers(table: Any, column: str) -> Values:
    kind = table.schema.field(column).type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
        raise ValueError(f"column {column!r} is not of numbers")
    numbers = np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"column {column!r} has no number in row {np.flatnonzero(~np.isfinite(numbers))[0]}")
    return numbers


def _full(space: SearchSpace, codes: Codes, accuracy: Values, latency: Values) -> Task:
    values = np.stack([-accuracy, latency], axis=1)
    front = np.unique(values[nondominated(values)], axis=0)
    looked_up = Lookup(space, codes, accuracy), Lookup(space, codes, latency)
    return Task(space, *looked_up, "ms", front, references(accuracy, latency))
