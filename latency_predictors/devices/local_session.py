"""What the sessions of all runtimes in this process share: checked inputs, the stop-watch, errors in one sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices.backend import Array, Input, Session
from latency_predictors.devices.runner import sentence, stopwatch


class LocalSession(Session):
    """A model loaded into a runtime in this process.

    Args:
        title: the runtime's name, for messages.
        inputs: the inputs of the model by name.
    """

    def __init__(self, title: str, inputs: Mapping[str, Input]) -> None:
        self._title, self._inputs = title, dict(inputs)

    @property
    def inputs(self) -> dict[str, Input]:
        return dict(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._check(inputs)
        with self._plain_errors():
            return self._outputs(inputs)

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        if repeats < 1:
            raise ValueError(f"repeats is 1 or more, not {repeats}")
        self._check(inputs)
        with self._plain_errors(), self._timed_run(inputs) as run:
            samples_ms: NDArray[np.float64] = stopwatch(run, repeats)
        return samples_ms

    @abstractmethod
    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, for inputs that were checked."""

    @abstractmethod
    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        """A function that does one run, outputs computed when it returns; inputs are bound beforehand."""

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except ValueError:
            raise
        except Exception as error:  # the exceptions of the runtimes share no base class
            raise ValueError(f"{self._title} cannot run the model: {sentence(error)}") from error
