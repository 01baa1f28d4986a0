"""By how much networks are expected to enlarge the hypervolume that a front dominates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import qmc

Values = NDArray[np.float64]

#: Places at which the gain in the first objective is summed where there is no closed form.
LOG2_PLACES = 11


@dataclass(frozen=True)
class Beliefs:
    """What is believed of candidates; all objectives are to be minimised.

    Attributes:
        mean: of each objective, shape (n, objectives).
        deviation: the same shape, 0 where an objective is known.
    """

    mean: Values
    deviation: Values

    def take(self, rows: NDArray[np.intp]) -> Beliefs:
        """Those of some candidates."""
        return Beliefs(self.mean[rows], self.deviation[rows])

    @classmethod
    def joined(cls, parts: Sequence[Beliefs]) -> Beliefs:
        """One after the other."""
        return cls(np.concatenate([p.mean for p in parts]), np.concatenate([p.deviation for p in parts]))


class Improvement(ABC):
    """Expected improvement of the hypervolume (Emmerich et al., CEC 2011), for independent normal beliefs.

    The hypervolume is the integral, over all places in the space of the objectives but the first, of the best value of
    the first one among networks that are no worse there. What a candidate adds at a place is the probability that
    it is no worse there times the expected improvement of the first objective, which has a closed form.

    Attributes:
        best: value of the first objective at each place so far.
    """

    best: Values

    @abstractmethod
    def add(self, values: Values) -> None:
        """Take networks into the front, with the values that they are believed to have, shape (n, objectives)."""

    @abstractmethod
    def _shares(self, beliefs: Beliefs, stride: int) -> NDArray[np.float32]:
        """Of each candidate the volume of each place at which it is no worse, shape (n, places)."""

    def expected(self, beliefs: Beliefs, stride: int = 1) -> Values:
        """Of each candidate, shape (n,).

        Args:
            beliefs: of the candidates.
            stride: a power of 2: only one in so many places need be looked at.
        """
        shares = self._shares(beliefs, stride)
        best = self.best[: shares.shape[1]]
        mean = beliefs.mean[:, :1]
        most = float(best.max() - mean.min(initial=best.max()))
        spread = np.maximum(
            beliefs.deviation[:, :1], 1e-9 * most if most > 0 else 1.0
        )  # if known, it is the plain gain
        gap = ((best - mean) / spread).clip(min=-1e3).astype(np.float32)
        density = np.exp(-0.5 * gap * gap) * np.float32(1 / np.sqrt(2 * np.pi))
        return np.asarray(((gap * ndtr(gap) + density) * shares).sum(1) * spread[:, 0])


def improvement(values: Values, reference: Values, ideal: Values, uncertain: int) -> Improvement:
    """The improvement of the front of what is evaluated.

    Args:
        values: of what is evaluated, shape (n, objectives), to be minimised.
        reference: the worst value of each objective that counts, shape (objectives,).
        ideal: the best value of each objective that anything may have, shape (objectives,).
        uncertain: how many objectives, the first ones, are uncertain.
    """
    exact = len(reference) == 2 and uncertain < 2
    made: Improvement = Staircase(reference) if exact else Sampled(reference, ideal)
    made.add(values)
    return made


class Staircase(Improvement):
    """With one other objective that is known, the places are the steps between the front's networks: exact."""

    def __init__(self, reference: Values) -> None:
        self._reference = reference
        self._points = np.zeros((0, 2))

    def add(self, values: Values) -> None:
        """As for `Improvement`."""
        points = np.concatenate([self._points, values[(values < self._reference).all(1)]])
        points = points[np.lexsort(points.T)]
        best = np.minimum.accumulate(points[:, 0])
        first = np.concatenate([[True], np.diff(best) < 0])[: len(points)]
        self._points = points[first]
        self.best = np.concatenate([self._reference[:1], best[first]])

    def _shares(self, beliefs: Beliefs, stride: int) -> NDArray[np.float32]:
        steps = self._points[:, 1]
        start, end = np.append(-np.inf, steps), np.append(steps, self._reference[1])
        return np.asarray(np.maximum(end - np.maximum(start, beliefs.mean[:, 1:]), 0), dtype=np.float32)


class Sampled(Improvement):
    """Otherwise the places are those of a Sobol' sequence, whose beginning is evenly spread too."""

    def __init__(self, reference: Values, ideal: Values) -> None:
        sequence = qmc.Sobol(len(reference) - 1, scramble=True, rng=np.random.default_rng(0))
        unit = sequence.random_base2(LOG2_PLACES)
        span = np.maximum(reference[1:] - ideal[1:], 0)
        self._places = ideal[1:] + unit * span
        self._volume = np.float32(np.prod(span) / len(unit))
        self.best = np.full(len(unit), reference[0])

    def add(self, values: Values) -> None:
        """As for `Improvement`."""
        for row in values[values[:, 0] < self.best.max()]:
            no_worse = (row[1:] <= self._places).all(1)
            self.best[no_worse] = np.minimum(self.best[no_worse], row[0])

    def _shares(self, beliefs: Beliefs, stride: int) -> NDArray[np.float32]:
        places = self._places[: len(self._places) // stride]
        shares = np.full((len(beliefs.mean), len(places)), self._volume * stride, dtype=np.float32)
        for column in range(places.shape[1]):
            mean, deviation = beliefs.mean[:, column + 1], beliefs.deviation[:, column + 1]
            shares *= _below(places[:, column], mean, deviation)
        return shares


def _below(places: Values, mean: Values, deviation: Values) -> NDArray[np.float32]:
    """Probability that each candidate is no worse than each place, shape (n, places)."""
    if not deviation.any():
        return (mean[:, None] <= places).astype(np.float32)
    return np.asarray(ndtr((places - mean[:, None]) / np.maximum(deviation, 1e-12)[:, None]), dtype=np.float32)
