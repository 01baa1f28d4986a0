"""The roofline of every operator of a space, summed by look-up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latency_predictors.operator_rows import OperatorRows
from search_spaces.slot_workloads import SlotWorkloads
from search_spaces.space import Codes
from search_spaces.workload import BYTES_PER_VALUE, COSTS

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
        slots: of the space, see `SearchSpace.slot_workloads`.
        weight_bytes: of a weight as it is stored; float32 by default.
        activation_bytes: of an activation and of a value in a cache.
    """

    def __init__(
        self,
        slots: SlotWorkloads,
        weight_bytes: float = BYTES_PER_VALUE,
        activation_bytes: float = BYTES_PER_VALUE,
    ) -> None:
        self._slots = slots
        stored = {"weight_bytes": weight_bytes, "activation_bytes": activation_bytes}
        self._stored = np.array([stored[name] / BYTES_PER_VALUE for name in _BYTES])
        self._ops = OperatorRows(self._slots, lambda op: [*op.costs().values()], len(COSTS))

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
        costs = self._ops.since(0)
        macs = _columns(costs, _MACS) * figures[: len(_MACS)]
        memory = (_columns(costs, _BYTES) * self._stored).sum(axis=1) * figures[len(_MACS)]
        arithmetic = (macs.sum(axis=1) >= memory)[:, None]
        launches = _columns(costs, ("kernels",)) * figures[len(_MACS) + 1]
        return self._ops.summed(np.concatenate([macs * arithmetic, memory[:, None] * ~arithmetic, launches], axis=1))


def _columns(costs: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    return costs[:, [COSTS.index(name) for name in names]]
