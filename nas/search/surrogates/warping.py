"""A scale on which the good values of an objective are far apart and the bad ones near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Values that are left as they are at least.
KEPT = 10


@dataclass(frozen=True)
class Warping:
    """Leaves values below `bound` as they are, and takes logarithms above it: what is bad need not be known exactly.

    Attributes:
        bound: of what matters.
        scale: above the bound, the distance at which differences count half.
    """

    bound: float
    scale: float

    @classmethod
    def of(cls, losses: Values, goal: float) -> Warping:
        """The warping of values to be minimised, shape (n,), of which those below `goal` matter; but the best
        `KEPT` of them always do."""
        bound = max(goal, float(np.sort(losses)[min(KEPT, len(losses)) - 1]))
        spread = bound - float(losses.min())
        return cls(bound, 0.1 * spread if spread > 0 else 1.0)

    def __call__(self, losses: Values) -> Values:
        """Warped values, in the same order."""
        above = np.maximum(losses - self.bound, 0)
        return np.minimum(losses, self.bound) + self.scale * np.log1p(above / self.scale)

    def inverse(self, warped: Values) -> Values:
        """The values that these are the warped ones of."""
        above = np.maximum(warped - self.bound, 0)
        return np.minimum(warped, self.bound) + self.scale * np.expm1(above / self.scale)
