"""What every variant of a slot costs, by row."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search_spaces.paths import Paths
from search_spaces.workload import COSTS, Workload

if TYPE_CHECKING:
    from search_spaces.space import Codes, SearchSpace, Slot, Variant

#: Columns of a slot's table after `COSTS`.
PARAMETERS = len(COSTS)
IDLE_WEIGHT_BYTES, STATE_INPUT_BYTES, STATE_OUTPUT_BYTES, PEAK_BYTES = range(PARAMETERS + 1, PARAMETERS + 5)
COLUMNS = PEAK_BYTES + 1


class SlotTable:
    """Costs of all variants of one slot; a row is traced when it is first asked for.

    Columns: `COSTS`, trainable parameters, bytes of weights that are held but not read, of state that is read and of
    state that is written, peak activation bytes.
    """

    def __init__(self, space: SearchSpace, slot: Slot, phase: str) -> None:
        self.slot = slot
        self._space, self._phase = space, phase
        names = [choice.name for choice in space.choices]
        self._columns = [names.index(name) for name in slot.choices]
        self._options = [space.choices[column].options for column in self._columns]
        self._radices = tuple(len(options) for options in self._options)
        self._table = np.full((prod(self._radices), COLUMNS), np.nan)
        self._variants: dict[int, Variant | None] = {}

    def variant(self, codes: Sequence[int]) -> Variant | None:
        """The slot's variant in the architecture of these canonical codes, made once."""
        index = 0
        for column, radix in zip(self._columns, self._radices, strict=True):
            index = index * radix + codes[column]
        if index not in self._variants:
            self._variants[index] = self._variant(index)
        return self._variants[index]

    def _variant(self, row: int) -> Variant | None:
        picked = np.unravel_index(row, self._radices) if self._radices else ()
        values = {
            name: options[int(i)] for name, options, i in zip(self.slot.choices, self._options, picked, strict=True)
        }
        return self.slot.variant(values, self._phase)

    def __len__(self) -> int:
        return len(self._table)

    def index(self, codes: Codes) -> NDArray[np.int64]:
        """Row of the slot's variant in each architecture of these canonical codes, shape (n,)."""
        index = np.zeros(len(codes), dtype=np.int64)
        for column, radix in zip(self._columns, self._radices, strict=True):
            if radix > 1:
                index *= radix
                index += codes[:, column]
        return index

    def workload(self, row: int) -> Workload | None:
        """The operators of the variant of a row; `None` when the slot is left out."""
        variant = self._variant(row)
        return None if variant is None else self._space.variant_workload(variant)

    def paths(self, row: int) -> Paths | None:
        """The paths through the variant of a row; `None` when the slot is left out."""
        variant = self._variant(row)
        if variant is None:
            return None
        workload = self._space.variant_workload(variant)
        inputs, outputs = len(workload.inputs) - variant.state_inputs, len(workload.outputs) - variant.state_outputs
        return Paths.through(workload, inputs, outputs)

    def rows(self, codes: Codes) -> NDArray[np.float64]:
        """The costs of the slot in each architecture of these canonical codes, shape (n, columns)."""
        index = self.index(codes)
        rows = self._table[index]
        missing = np.unique(index[np.isnan(rows[:, 0])])
        for row in missing.tolist():
            self._table[row] = self._costs(row)
        return self._table[index] if missing.size else rows

    def _costs(self, row: int) -> list[float]:
        variant = self._variant(row)
        if variant is None:
            return [0.0] * COLUMNS
        workload = self._space.variant_workload(variant)
        return [
            *workload.costs().values(),
            workload.parameters,
            workload.idle_weight_bytes,
            workload.bytes_of(workload.inputs[len(workload.inputs) - variant.state_inputs :]),
            workload.bytes_of(workload.outputs[len(workload.outputs) - variant.state_outputs :]),
            workload.peak_activation_bytes,
        ]
