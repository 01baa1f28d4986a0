"""What every surrogate can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.search.surrogates.descriptors import Described

Values = NDArray[np.float64]


class Surrogate(ABC):
    """Predicts an objective of networks that were not evaluated, with uncertainty.

    What it predicts is the value that an evaluation will give, noise included. It is a pure function of its arguments.

    Args:
        known: evaluated networks, at least 2, those first that the ones to predict are like.
        values: of the objective, shape (n,), finite.

    Attributes:
        name: for people, and of the option of a sampler.
    """

    name: ClassVar[str]

    @abstractmethod
    def __init__(self, known: Described, values: Values) -> None: ...

    @abstractmethod
    def predict(self, networks: Described) -> tuple[Values, Values]:
        """Mean and standard deviation, each of shape (n,); quick, for many thousands of networks. The deviation may be
        somewhat higher than the one of `joint`."""

    @abstractmethod
    def joint(self, networks: Described) -> tuple[Values, Values]:
        """Mean, shape (n,), and covariance, shape (n, n), of distinct networks."""


def standardised(values: Values) -> tuple[Values, float, float]:
    """Values with mean 0 and deviation 1 (0 where all are equal), the mean and the deviation (1 where it is 0)."""
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    return (values - mean) / scale, mean, scale
