"""The roofline of every operator of a space, summed by look-up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import COSTS

_MACS = tuple(name for name in COSTS if name.startswith("macs_"))
_BYTES = tuple(name for name in COSTS if name.endswith("_bytes"))

#: What a roofline consists of: ms per MAC of each kind, per byte moved, per kernel launched, and per call.
PARAMETERS = (*_MACS, "bytes", "kernels", "call")

#: One core of a current processor with its data in cache, rounded from the devices of the shipped bank: 1e11 MACs per
#: second, less where convolutions vectorise worse, 1e11 bytes per second, 2 microseconds for a launch, 5 for a call.
_GENERIC = {
    "macs_depthwise": 3e-8,
    "macs_grouped": 2e-8,
    "bytes": 1e-8,
    "kernels": 2e-3,
    "call": 5e-3,
}
_GENERIC_MAC = 1e-8  # of all other kinds

#: The figures of a device that nobody measured, in the order of `PARAMETERS`.
GENERIC_DEVICE = tuple(_GENERIC.get(name, _GENERIC_MAC) for name in PARAMETERS)


class RooflineCosts:
    """How long the architectures of a space take on the roofline of any device.

    Args:
        space: of the architectures.
        phase: one of `space.phases`.
    """

    def __init__(self, space: SearchSpace, phase: str) -> None:
        self._slots = space.slot_workloads(phase)
        self._costs = np.zeros((0, len(COSTS)))  # of every operator of every workload
        self._owner = np.zeros(0, dtype=np.int64)  # the workload of each operator
        self._count = 0

    def parts_ms(self, codes: Codes, figures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the time of each architecture goes.

        Args:
            codes: canonical, shape (n, number of choices).
            figures: ms per unit of `PARAMETERS`, shape (p,).

        Returns:
            Shape (n, p); rows add up to latencies. The time of an operator counts for its MACs when they are the
            slower part, otherwise for its bytes.
        """
        parts = np.empty((len(codes), len(PARAMETERS)))
        parts[:, :-1] = self._slots.sums(codes, lambda: self._workloads_ms(figures))
        parts[:, -1] = figures[-1]
        return parts

    def _workloads_ms(self, figures: NDArray[np.float64]) -> NDArray[np.float64]:
        """The parts of every workload but the call, shape (workloads, p - 1)."""
        self._complete()
        macs, traffic = self._columns(_MACS) * figures[: len(_MACS)], self._columns(_BYTES).sum(axis=1)
        memory = traffic * figures[len(_MACS)]
        arithmetic = (macs.sum(axis=1) >= memory)[:, None]
        launches = self._columns(("kernels",)) * figures[len(_MACS) + 1]
        of_ops = np.concatenate([macs * arithmetic, memory[:, None] * ~arithmetic, launches], axis=1)
        found = [np.bincount(self._owner, part, self._count) for part in of_ops.T]
        return np.stack(found, axis=1)

    def _columns(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        return self._costs[:, [COSTS.index(name) for name in names]]

    def _complete(self) -> None:
        """Take in the operators of workloads that are new."""
        new = self._slots.workloads[self._count :]
        if not new:
            return
        rows = [[*op.costs().values()] for workload in new for op in workload.ops]
        self._costs = np.concatenate([self._costs, np.array(rows, dtype=np.float64).reshape(-1, len(COSTS))])
        owners = np.repeat(np.arange(self._count, self._count + len(new)), [len(workload.ops) for workload in new])
        self._owner = np.concatenate([self._owner, owners])
        self._count += len(new)
