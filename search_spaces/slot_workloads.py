"""The distinct workloads of the slots of a space, by number: any cost of a workload becomes a sum by look-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.workload import Workload

Codes = NDArray[np.int64]

#: In place of a number that was not looked up yet.
UNKNOWN = -1

#: Variants that are looked at before a limit is checked.
STRIDE = 256


#: Rows of a table of the sums of several slots: with a few hundred columns it stays in a processor's cache.
LARGEST_TABLE = 4096


class SlotRows(Protocol):
    """All variants of a slot, by row."""

    def __len__(self) -> int: ...
    def index(self, codes: Codes) -> NDArray[np.int64]:
        """Row of the variant in each architecture, shape (n,)."""

    def workload(self, row: int) -> Workload | None:
        """What the variant of a row runs; `None` when the slot is left out."""


class SlotWorkloads:
    """Numbers the distinct workloads that slots run, each when it is first asked for.

    Equal workloads have one number wherever they occur; number 0 is the slot that is left out.

    Args:
        slots: of one phase of a space, see `SearchSpace.slot_workloads`.
    """

    def __init__(self, slots: Sequence[SlotRows]) -> None:
        self._slots = slots
        self._numbers = [np.full(len(slot), UNKNOWN) for slot in slots]
        self._known: dict[Workload | None, int] = {None: 0}

    @property
    def workloads(self) -> list[Workload]:
        """Those that have a number so far, from number 1 on; they keep it."""
        return [workload for workload in self._known if workload is not None]

    def number(self, codes: Codes) -> None:
        """Give a number to all workloads of these canonical codes, shape (n, number of choices)."""
        self._number(codes)

    def _number(self, codes: Codes) -> list[NDArray[np.int64]]:
        """Number of the workload of each slot in each architecture, shape (n,) each."""
        columns = np.asfortranarray(codes)  # a slot reads some columns
        found = []
        for slot, numbers in zip(self._slots, self._numbers, strict=True):
            rows = slot.index(columns)
            self._complete(slot, numbers, distinct(rows, len(numbers))[0])
            found.append(numbers[rows])
        return found

    def number_all(self, most: int) -> None:
        """Give a number to the workloads of all variants of all slots.

        Raises:
            ValueError: when there are more than `most`.
        """
        for slot, numbers in zip(self._slots, self._numbers, strict=True):
            for start in range(0, len(slot), STRIDE):
                self._complete(slot, numbers, np.arange(start, min(start + STRIDE, len(slot))))
                if len(self._known) - 1 > most:
                    variants = sum(len(slot) for slot in self._slots)
                    raise ValueError(
                        f"the space has more than {most:,} distinct blocks (its slots have {variants:,} variants), too many "
                        "to measure each: choose another predictor, or give the space fewer options"
                    )

    def sums(self, codes: Codes, costs: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Sum over the slots of the costs of their workloads.

        Args:
            codes: canonical, shape (n, number of choices).
            costs: gives the costs of `workloads` in their order, shape (len(workloads), c), floating; asked after all
                workloads of `codes` have a number.

        Returns:
            Shape (n, c), of the type of the costs.
        """
        numbers = self._number(codes)
        values = costs()
        table = np.concatenate([np.zeros_like(values, shape=(1, values.shape[1])), values])
        total = np.zeros((len(codes), table.shape[1]), dtype=table.dtype)
        for rows, joint in _joint_tables(len(codes), numbers, table):
            total += joint[rows]
        return total

    def _complete(self, slot: SlotRows, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        for row in rows[numbers[rows] == UNKNOWN].tolist():
            numbers[row] = self._known.setdefault(slot.workload(row), len(self._known))


def _joint_tables(
    n: int, numbers: Sequence[NDArray[np.int64]], table: NDArray[Any]
) -> Iterator[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Sums of several slots at once: few tables to look up in, none much larger than it is worth.

    Yields:
        Row of each architecture, shape (n,), and the table, shape (rows, c).
    """
    most = min(LARGEST_TABLE, max(1, n // 8))
    rows, joint = np.zeros(n, dtype=np.intp), table[:1]
    for of_slot in numbers:
        used, local = distinct(of_slot, len(table))
        pairs, merged = distinct(rows * len(used) + local, len(joint) * len(used))
        if len(pairs) > most and len(joint) > 1:
            yield rows, joint
            rows, joint = local, table[used]
        else:
            rows, joint = merged, joint[pairs // len(used)] + table[used[pairs % len(used)]]
    yield rows, joint


def distinct(values: NDArray[Any], size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The distinct ones of numbers below `size`, sorted, and the position of each value among them."""
    there = np.zeros(size, dtype=bool)
    there[values] = True
    position = np.cumsum(there) - 1
    return np.flatnonzero(there), position[values]
