"""How a network's input reaches its output: the number and the lengths of the paths through its operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.paths import Floats, Paths
from search_spaces.slot_table import SlotTable

#: The columns of `SearchSpace.connectivity`.
CONNECTIVITY = ("log_paths", "longest_path", "shortest_path", "mean_path")


class Connectivity:
    """Path statistics of many networks, by looking up the blocks of their slots.

    Args:
        tables: of the slots of one phase, in running order.
    """

    def __init__(self, tables: Sequence[SlotTable]) -> None:
        self._tables = tables
        self._blocks = [_unknown(len(table), 1) for table in tables]

    def features(self, codes: NDArray[np.int64]) -> Floats:
        """The columns `CONNECTIVITY` of canonical codes, shape (n, 4); all zero where no path leads to the output."""
        rows = [table.index(codes) for table in self._tables]
        for slot, index in enumerate(rows):
            for row in np.unique(index[np.isnan(self._blocks[slot].number[index, 0, 0])]).tolist():
                self._keep(slot, row)
        if any(np.isnan(b.number[index, 0, 0]).any() for b, index in zip(self._blocks, rows, strict=True)):  # they grew
            return self.features(codes)
        state = Paths.straight(self._size).take(np.zeros(len(codes), dtype=np.intp))
        for blocks, index in zip(self._blocks, rows, strict=True):
            state = state.then(blocks.take(index))
        return _statistics(state)

    @property
    def _size(self) -> int:
        """Most tensors that a slot was seen to pass on; without slots the input is the output."""
        return int(self._blocks[0].number.shape[-1]) if self._blocks else 1

    def _keep(self, slot: int, row: int) -> None:
        """Look at a variant; all tables grow and are begun anew, when it passes on more tensors than any before."""
        paths = self._tables[slot].paths(row)
        if paths is not None and max(paths.number.shape) > self._size:
            self._blocks = [_unknown(len(table), max(paths.number.shape)) for table in self._tables]
        kept = Paths.straight(self._size) if paths is None else paths.padded(self._size)
        for part, mine in zip(self._blocks[slot].parts, kept.parts, strict=True):
            part[row] = mine


def _unknown(rows: int, size: int) -> Paths:
    """Variants that nobody looked at yet."""
    return Paths(*(np.full((rows, size, size), np.nan) for _ in range(4)))


def _statistics(ends: Paths) -> Floats:
    """Of the paths to all outputs, shape (n, outputs)."""
    number, total = ends.number.sum(1), ends.total.sum(1)
    reached = number > 0
    mean = np.divide(total, number, out=np.zeros_like(total), where=reached)
    columns = [np.log1p(number), ends.longest.max(1), ends.shortest.min(1), mean]
    return np.where(reached[:, None], np.stack(columns, axis=1), 0.0)
