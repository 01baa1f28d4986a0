"""All operators of the workloads of a space as rows of a matrix, read as they become known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.slot_workloads import SlotWorkloads
from search_spaces.workload import Op

Floats = NDArray[np.float64]


class OperatorRows:
    """A row for every operator of every workload that has a number.

    Args:
        slots: gives workloads their numbers.
        describe: an operator as numbers.
        width: how many.
    """

    def __init__(self, slots: SlotWorkloads, describe: Callable[[Op], Sequence[float]], width: int) -> None:
        self._slots, self._describe = slots, describe
        self._rows = np.zeros((0, width))
        self._owner = np.zeros(0, dtype=np.int64)  # the workload of each row
        self._count = 0  # of workloads

    def since(self, workload: int) -> Floats:
        """Rows of the operators of all workloads from that number on (0: all), shape (operators, width)."""
        self._read()
        return self._rows[np.searchsorted(self._owner, workload) :]

    def summed(self, values: Floats, since: int = 0) -> Floats:
        """Sums over the operators of each workload.

        Args:
            values: of the rows of `since(since)`, shape (operators, c).
            since: the first workload.

        Returns:
            Shape (workloads, c).
        """
        total = np.zeros((self._count - since, values.shape[1]))
        np.add.at(total, self._owner[len(self._owner) - len(values) :] - since, values)
        return total

    def _read(self) -> None:
        new = self._slots.workloads[self._count :]
        rows = [self._describe(op) for workload in new for op in workload.ops]
        if rows:
            self._rows = np.concatenate([self._rows, np.array(rows, dtype=np.float64)])
        owners = np.repeat(np.arange(self._count, self._count + len(new)), [len(workload.ops) for workload in new])
        self._owner = np.concatenate([self._owner, owners])
        self._count += len(new)
