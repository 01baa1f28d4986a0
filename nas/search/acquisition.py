"""By how much networks are expected to enlarge the hypervolume that a front dominates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import qmc

Values = NDArray[np.float64]

#: Places at which the gain in the first objective is integrated, for one other objective and for more.
PLACES = 1024
LOG2_PLACES = 11


@dataclass(frozen=True)
class Beliefs:
    """What is believed of candidates; all objectives are to be minimised.

    Attributes:
        mean: of each objective, shape (n, objectives).
        deviation: the same shape, 0 where an objective is known; the first one is uncertain.
    """

    mean: Values
    deviation: Values

    def take(self, rows: NDArray[np.intp]) -> Beliefs:
        """Those of some candidates."""
        return Beliefs(self.mean[rows], self.deviation[rows])


class Improvement:
    """Expected improvement of the hypervolume (Emmerich et al., CEC 2011), for independent normal beliefs.

    The hypervolume is the integral, over all places in the space of the objectives but the first, of the best value of
    the first one among networks that are no worse there. What a candidate adds at a place is the probability that
    it is no worse there times the expected improvement of the first objective: in closed form, so that only the
    integral over the places is a sum. With two objectives the places are equidistant, with more a Sobol' sequence.

    Args:
        values: of what is evaluated, shape (n, objectives), to be minimised.
        reference: the worst value of each objective that counts, shape (objectives,).
        ideal: the best value of each objective that anything may have, shape (objectives,).
    """

    def __init__(self, values: Values, reference: Values, ideal: Values) -> None:
        others = len(reference) - 1
        unit = (np.arange(PLACES)[:, None] + 0.5) / PLACES
        if others > 1:
            unit = qmc.Sobol(others, scramble=True, rng=np.random.default_rng(0)).random_base2(LOG2_PLACES)
        span = np.maximum(reference[1:] - ideal[1:], 0)
        self._places = ideal[1:] + unit * span
        self._volume = float(np.prod(span)) / len(unit)
        self._best = np.full(len(unit), reference[0])
        self.add(values)

    def add(self, values: Values) -> None:
        """Take networks into the front, with the values that they are believed to have, shape (n, objectives)."""
        for row in values[values[:, 0] < self._best.max()]:
            no_worse = (row[1:] <= self._places).all(1)
            self._best[no_worse] = np.minimum(self._best[no_worse], row[0])

    def expected(self, beliefs: Beliefs, stride: int = 1) -> Values:
        """Of each candidate, shape (n,).

        Args:
            beliefs: of the candidates.
            stride: only one in so many places is looked at.
        """
        places, best = self._places[::stride], self._best[::stride]
        chance = np.ones((len(beliefs.mean), len(places)), dtype=np.float32)
        for column in range(places.shape[1]):
            mean, deviation = beliefs.mean[:, column + 1], beliefs.deviation[:, column + 1]
            chance *= _below(places[:, column], mean, deviation)
        spread = np.maximum(beliefs.deviation[:, :1], 1e-12)  # of a known one what it adds is the plain gain
        gap = ((best - beliefs.mean[:, :1]) / spread).clip(-1e6, 1e6).astype(np.float32)
        density = np.exp(-0.5 * gap * gap) * np.float32(1 / np.sqrt(2 * np.pi))
        gain = (gap * ndtr(gap) + density) * chance
        return np.asarray(gain.sum(1) * spread[:, 0] * self._volume * stride)


def _below(places: Values, mean: Values, deviation: Values) -> NDArray[np.float32]:
    """Probability that each candidate is no worse than each place, shape (n, places)."""
    if not deviation.any():
        return (mean[:, None] <= places).astype(np.float32)
    return np.asarray(ndtr((places - mean[:, None]) / np.maximum(deviation, 1e-12)[:, None]), dtype=np.float32)
