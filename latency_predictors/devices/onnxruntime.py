"""ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices import runner
from latency_predictors.devices.backend import Array, Backend, Input, Model, Session
from search_spaces.space import nearest


class OnnxRuntime(Backend):
    """ONNX Runtime's CPU execution provider, as `runner` does it on machines that have nothing else of this project.

    Threads do not spin while they wait: on a busy machine spinning threads made two-thread runs ten times slower.

    Args:
        threads: within one operator.
        graph_optimization: `all`, `extended`, `basic` or `disabled`.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name = "onnxruntime"

    def __init__(self, threads: int = 1, graph_optimization: str = "all") -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ValueError(f"option 'threads' of backend 'onnxruntime' is a whole number from 1, got {threads!r}")
        if graph_optimization not in runner.LEVELS:
            raise ValueError(
                f"option 'graph_optimization' of backend 'onnxruntime' cannot be {graph_optimization!r}"
                f"{nearest(str(graph_optimization), runner.LEVELS)}; it takes {', '.join(runner.LEVELS)}"
            )
        self.threads, self._runtime = threads, runner.OnnxRuntime(threads, graph_optimization)

    def prepare(self, model: Model) -> Session:
        return _OnnxRuntimeSession(self._runtime.prepare(model))

    def version(self) -> str:
        return self._runtime.version()


class _OnnxRuntimeSession(Session):
    """The runner's session, with its inputs checked."""

    def __init__(self, loaded: runner.OnnxRuntimeSession) -> None:
        self._loaded = loaded

    @property
    def inputs(self) -> dict[str, Input]:
        return {name: Input(*value) for name, value in self._loaded.inputs.items()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._check(inputs)
        return self._loaded.run(inputs)

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        if repeats < 1:
            raise ValueError(f"repeats is 1 or more, not {repeats}")
        self._check(inputs)
        samples_ms: NDArray[np.float64] = self._loaded.time(inputs, repeats)
        return samples_ms
