"""How a network's input reaches its output: the number and the lengths of the paths through its operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search_spaces.paths import Floats, Paths
from search_spaces.slot_table import SlotTable
from search_spaces.slot_workloads import distinct

#: The columns of `SearchSpace.connectivity`.
CONNECTIVITY = ("log_paths", "longest_path", "shortest_path", "mean_path")


class Connectivity:
    """Path statistics of many networks, by looking up the blocks of their slots.

    Args:
        tables: of the slots of one phase, in running order.
    """

    def __init__(self, tables: Sequence[SlotTable]) -> None:
        self._tables = tables
        self._blocks: list[dict[int, Paths | None]] = [{} for _ in tables]

    def features(self, codes: NDArray[np.int64]) -> Floats:
        """The columns `CONNECTIVITY` of canonical codes, shape (n, 4); all zero where no path leads to the output."""
        rows = [distinct(table.index(codes), len(table)) for table in self._tables]
        blocks = [[self._block(slot, int(row)) for row in used] for slot, (used, _) in enumerate(rows)]
        present = [block.longest.shape for group in blocks for block in group if block is not None]
        size = max((max(shape) for shape in present), default=1)
        state = Paths.straight(size).take(np.zeros(len(codes), dtype=np.intp))
        for group, (_, local) in zip(blocks, rows, strict=True):
            if any(block is not None for block in group):
                through = [Paths.straight(size) if block is None else block.padded(size) for block in group]
                state = state.then(Paths.stack(through).take(local))
        return _statistics(state)

    def _block(self, slot: int, row: int) -> Paths | None:
        """The paths through a variant of a slot; `None` when it is left out."""
        if row not in self._blocks[slot]:
            self._blocks[slot][row] = self._tables[slot].paths(row)
        return self._blocks[slot][row]


def _statistics(ends: Paths) -> Floats:
    """Of the paths to all outputs, shape (n, outputs)."""
    number, total = ends.number.sum(1), ends.total.sum(1)
    reached = number > 0
    mean = np.divide(total, number, out=np.zeros_like(total), where=reached)
    columns = [np.log1p(number), ends.longest.max(1), ends.shortest.min(1), mean]
    return np.where(reached[:, None], np.stack(columns, axis=1), 0.0)
