"""What is compared: a method sees the training devices and the samples, and predicts rows of the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from experiments.few_shot_latency.protocols import Rows
from latency_predictors import LatencyPredictor, MatrixBank
from latency_predictors.reference_set import choose
from search_spaces import SearchSpace
from search_spaces.space import Codes

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scenario:
    """All that a method is given before the samples. Nothing in it is of the target device.

    Attributes:
        space: of the architectures.
        phase: of the workload.
        codes: of all rows, shape (n, number of choices).
        bank: the training devices where the protocol knows them; `None` without training devices.
        train_ms: the training devices on *all* rows, shape (n, devices); for the baselines that say so.
    """

    space: SearchSpace
    phase: str
    codes: Codes
    bank: MatrixBank | None
    train_ms: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Guess:
    """Predicted latencies of some rows, in ms, each of shape (rows,).

    Attributes:
        mean_ms: expected.
        low_ms: lower end of the 90 % interval, where the method has one.
        high_ms: its upper end.
    """

    mean_ms: Column
    low_ms: Column | None = None
    high_ms: Column | None = None


class Method(ABC):
    """A way to predict.

    Attributes:
        looks_up_queries: whether it reads what the training devices took for the architectures that are asked for.
        min_samples: without which it cannot be calibrated.
    """

    looks_up_queries: ClassVar[bool] = False
    min_samples: int = 1

    @abstractmethod
    def learn(self, scenario: Scenario) -> None:
        """Take what does not depend on the target device."""

    @abstractmethod
    def choose(self, rows: Rows, n: int, rng: np.random.Generator) -> Rows:
        """Which `n` of `rows` to measure, whatever the device."""

    @abstractmethod
    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        """Fit to the samples: rows of the table, and what the target device took. Earlier ones are forgotten."""

    @abstractmethod
    def predict(self, rows: Rows) -> Guess:
        """Predict rows of the table."""


class SpaceChoice(Method):
    """A method that measures what the project's predictors do."""

    def learn(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def choose(self, rows: Rows, n: int, rng: np.random.Generator) -> Rows:
        known = self._scenario
        return np.asarray(rows[choose(known.space, known.phase, known.codes[rows], n)])


class Predictor(SpaceChoice):
    """A predictor of the project.

    Args:
        kind: its class.
    """

    def __init__(self, kind: type[LatencyPredictor]) -> None:
        self._kind = kind
        self.min_samples = kind.min_samples

    def learn(self, scenario: Scenario) -> None:
        super().learn(scenario)
        self._predictor = self.make(scenario.space, scenario.phase, scenario.bank)

    def make(self, space: SearchSpace, phase: str, bank: MatrixBank | None) -> LatencyPredictor:
        """The predictor, which knows no device yet."""
        return self._kind(space, phase, bank=bank)

    def calibrate(self, rows: Rows, measured_ms: Column) -> None:
        self._predictor.calibrate(self._scenario.codes[rows], measured_ms)

    def predict(self, rows: Rows) -> Guess:
        found = self._predictor.predict(self._scenario.codes[rows])
        return Guess(found.mean_ms, found.low_ms, found.high_ms)
