"""MACs as `thop` (https://github.com/Lyken17/pytorch-OpCounter) counts them, which Accel-NASBench publishes."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from search_spaces import Op, SearchSpace, Workload
from search_spaces.space import Codes

#: Of batch normalisation, for each value.
NORMALISATION = 4


def counted(op: Op) -> int:
    """MACs; four for each value that is normalised, one for each value that an average reads or gives."""
    if op.kind == "mean":
        return sum(prod(shape) for shape in op.shapes)
    # Normalisation is folded into its convolution, but its scale stays among the parameters.
    normalised = op.kind == "conv" and op.parameters > sum(prod(shape) for shape in op.weights)
    return op.macs + NORMALISATION * normalised * prod(op.output_shape)


def macs(space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
    """What `thop` counts for each architecture, shape (n,)."""
    slots = space.slot_workloads()

    def costs() -> NDArray[np.float64]:
        return np.array([[_total(workload)] for workload in slots.workloads], dtype=np.float64)

    return slots.sums(space.canonical(codes), costs)[:, 0]


def _total(workload: Workload) -> int:
    return sum(counted(op) for op in workload.ops)
