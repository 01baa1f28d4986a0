"""The distinct operators of a space: an architecture is how often it runs each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import COSTS, Op, Workload

Floats = NDArray[np.float64]

#: Numbers that describe an operator beside its kind, see `describe`.
DESCRIPTION = (
    *(f"log_{name}" for name in COSTS),
    *(f"has_{name}" for name in COSTS),
    "log_channels_in",
    "log_channels_out",
    "log_last_out",
    "log_window",
    "log_groups",
    "log_stride",
)


def describe(op: Op) -> list[float]:
    """The numbers of `DESCRIPTION` for an operator."""
    costs, attributes = list(op.costs().values()), dict(op.attributes)
    sizes = (
        _size(op.shapes[0][1:2]),
        _size(op.output_shape[1:2]),
        _size(op.output_shape[-1:]),
        _size(op.weights[0][2:]) if op.weights else 1,
        _size(attributes.get("groups", 1)),
        _size(attributes.get("stride", 1)),
    )
    return [*np.log1p(costs).tolist(), *(float(cost > 0) for cost in costs), *np.log(sizes).tolist()]


def _size(value: object) -> int:
    """Product of the numbers of a shape; a number is its own."""
    return prod(value) if isinstance(value, tuple) else int(str(value))


class OperatorCounts:
    """Counts the operators of architectures, and sums their costs, by looking up the slots' workloads.

    Operators are the same when kind, shapes and attributes are; those without any cost (`reshape`) are left out.

    Args:
        space: of the architectures.
        phase: one of `space.phases`.
    """

    def __init__(self, space: SearchSpace, phase: str) -> None:
        self._slots = space.slot_workloads(phase)
        self._numbers: dict[Op, int] = {}

    def counts(self, codes: Codes) -> tuple[list[Op], Floats]:
        """The operators seen so far, and how often each architecture runs them.

        Args:
            codes: canonical, shape (n, number of choices).

        Returns:
            The operators, and a matrix of shape (n, number of operators).
        """
        self._slots.number(codes)
        numbers = [self._of(workload) for workload in self._slots.workloads]
        table = np.zeros((len(numbers), len(self._numbers)))
        for row, found in zip(table, numbers, strict=True):
            np.add.at(row, found, 1)
        return list(self._numbers), self._slots.sums(codes, lambda: table)

    def _of(self, workload: Workload) -> list[int]:
        ops = map(anywhere, workload.ops)
        return [self._numbers.setdefault(op, len(self._numbers)) for op in ops if any(op.costs().values())]


class OperatorSums:
    """Sums over the operators of architectures of costs that are computed once for each distinct operator.

    Args:
        space: of the architectures.
        phase: one of `space.phases`.
        cost: of an operator, shape (c,).
        width: c.
    """

    def __init__(self, space: SearchSpace, phase: str, cost: Callable[[Op], Floats], width: int) -> None:
        self._slots, self._cost = space.slot_workloads(phase), cost
        self._ops: dict[Op, Floats] = {}
        self._table = np.zeros((0, width))

    def __call__(self, codes: Codes) -> Floats:
        """The sums for canonical codes (n, number of choices), shape (n, c); whatever came before, bit for bit."""
        return self._slots.sums(codes, self._workloads)

    def _workloads(self) -> Floats:
        new = self._slots.workloads[len(self._table) :]
        rows = [self._workload(workload) for workload in new]
        if rows:
            self._table = np.concatenate([self._table, np.stack(rows)])
        return self._table

    def _workload(self, workload: Workload) -> Floats:
        total = np.zeros(self._table.shape[1])
        for op in map(anywhere, workload.ops):
            if op not in self._ops:
                # One by one, so that no rounding depends on which operators come together.
                self._ops[op] = self._cost(op) if any(op.costs().values()) else np.zeros_like(total)
            total += self._ops[op]
        return total


def anywhere(op: Op) -> Op:
    """The operator wherever it stands: without the numbers of its tensors, all of which have a place in `shapes`."""
    return replace(op, inputs=(0,) * len(op.inputs), outputs=(1,) * len(op.outputs), parameters=0)
