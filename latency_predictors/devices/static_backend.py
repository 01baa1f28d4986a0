"""Runtimes that are quick, or that run at all, only when every size is known: one session for each batch size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from latency_predictors.devices.backend import Array, Backend, Input, Model, Session
from latency_predictors.devices.models import inputs_of, read, with_batch


class StaticBackend(Backend):
    """A backend whose sessions have fixed sizes.

    A model that leaves its batch size free is loaded with batch 1, and again for every other batch size when inputs
    of that size first come.
    """

    def prepare(self, model: Model) -> Session:
        self.version()  # raises when the runtime is not installed
        graph = read(model, self.title)
        if all(None not in value.shape for value in inputs_of(graph).values()):
            return self._load(graph)
        return _FreeBatchSession(self, graph)

    @abstractmethod
    def _load(self, model: ModelProto) -> Session:
        """Load a model whose inputs have fixed sizes; errors as for `prepare`."""


class _FreeBatchSession(Session):
    """Passes its inputs on to the session of their batch size; the last one is kept, besides that of batch 1."""

    def __init__(self, backend: StaticBackend, model: ModelProto) -> None:
        self._backend, self._model = backend, model
        self._inputs = inputs_of(model)
        self._single = self._last = backend._load(with_batch(model, 1))
        self._last_batch = 1

    @property
    def inputs(self) -> dict[str, Input]:
        return dict(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._session(inputs).run(inputs)

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        return self._session(inputs).time(inputs, repeats)

    def _session(self, inputs: Mapping[str, Array]) -> Session:
        self._check(inputs)
        batch = next(len(inputs[name]) for name, value in self._inputs.items() if value.shape[0] is None)
        if batch == 1:
            return self._single
        if batch != self._last_batch:
            self._last, self._last_batch = self._backend._load(with_batch(self._model, batch)), batch
        return self._last
