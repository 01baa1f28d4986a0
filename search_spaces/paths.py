"""The paths through a block's operators: how many lead from each tensor to each other one, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.workload import Op, Workload

Floats = NDArray[np.float64]

#: Operators that count as a step of a path: those that learn.
_STEPS = ("conv", "conv_transpose", "linear")

#: What no path leads to: longest and shortest length, number of paths, sum of their lengths.
_NONE = (-np.inf, np.inf, 0.0, 0.0)


@dataclass(frozen=True)
class Paths:
    """The paths from each of some tensors to each of others.

    Lengths are counted in convolutions and linear layers. Longest and shortest ones add up along a chain of blocks in
    the (max, +) and (min, +) semirings, numbers and sums of lengths as matrices of polynomials cut after degree one
    (Mohri, Journal of Automata, Languages and Combinatorics 7(3), 2002).

    Attributes:
        longest, shortest, number, total: shape (..., to, from); `total` is the sum of all lengths.
    """

    longest: Floats
    shortest: Floats
    number: Floats
    total: Floats

    @classmethod
    def none(cls, *shape: int) -> Paths:
        """No path at all."""
        return cls(*(np.full(shape, value) for value in _NONE))

    @classmethod
    def straight(cls, n: int) -> Paths:
        """From each of `n` tensors to itself."""
        here, paths = np.arange(n), cls.none(n, n)
        paths.longest[here, here] = paths.shortest[here, here] = 0.0
        paths.number[here, here] = 1.0
        return paths

    @classmethod
    def through(cls, workload: Workload, inputs: int, outputs: int) -> Paths:
        """Those from the first `inputs` tensors that a workload takes to the first `outputs` that it gives."""
        start = cls.straight(inputs)
        rows = {tensor: start.row(index) for index, tensor in enumerate(workload.inputs[:inputs])}
        nowhere = cls.none(1, inputs).row(0)
        for op in workload.ops:
            reached = cls.stack([rows.get(tensor, nowhere) for tensor in op.inputs])
            rows |= dict.fromkeys(op.outputs, reached.after(op) if op.kind != "zero" else nowhere)
        return cls.stack([rows.get(tensor, nowhere) for tensor in workload.outputs[:outputs]])

    def after(self, op: Op) -> Paths:
        """The paths that go on through an operator that reads all of these tensors, shape (from,)."""
        step = float(op.kind in _STEPS)
        number = self.number.sum(0)
        return Paths(self.longest.max(0) + step, self.shortest.min(0) + step, number, self.total.sum(0) + step * number)

    def row(self, index: int) -> Paths:
        """Those to one tensor, shape (..., from)."""
        return Paths(*(part[..., index, :] for part in self.parts))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The four arrays."""
        return self.longest, self.shortest, self.number, self.total

    @classmethod
    def stack(cls, paths: Sequence[Paths]) -> Paths:
        """One after the other along a new first axis."""
        return cls(*(np.stack(parts) for parts in zip(*(path.parts for path in paths), strict=True)))

    def padded(self, size: int) -> Paths:
        """With further tensors, that no path leads to or from, shape (size, size)."""
        to, source = self.longest.shape
        if to == source == size:
            return self
        whole = Paths.none(size, size)
        for part, mine in zip(whole.parts, self.parts, strict=True):
            part[:to, :source] = mine
        return whole

    def take(self, rows: NDArray[np.intp]) -> Paths:
        """Those of some rows of the first axis."""
        return Paths(*(part[rows] for part in self.parts))

    def then(self, block: Paths) -> Paths:
        """Along these, of shape (n, from), and on through `block`, of shape (n, to, from): shape (n, to)."""
        return Paths(
            (block.longest + self.longest[:, None]).max(-1),
            (block.shortest + self.shortest[:, None]).min(-1),
            (block.number * self.number[:, None]).sum(-1),
            (block.number * self.total[:, None] + block.total * self.number[:, None]).sum(-1),
        )
