"""ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices.backend import Array, Backend, Input, Model, Session, import_runtime
from search_spaces.space import nearest

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxRuntime(Backend):
    """ONNX Runtime's CPU execution provider.

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
        if graph_optimization not in _LEVELS:
            raise ValueError(
                f"option 'graph_optimization' of backend 'onnxruntime' cannot be {graph_optimization!r}"
                f"{nearest(str(graph_optimization), _LEVELS)}; it takes {', '.join(_LEVELS)}"
            )
        self.threads, self._level = threads, _LEVELS[graph_optimization]

    def prepare(self, model: Model) -> Session:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, self._level)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        try:
            session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            raise ValueError(f"ONNX Runtime cannot load the model: {_sentence(error)}") from error
        return _OnnxRuntimeSession(session)

    def version(self) -> str:
        return str(_runtime().__version__)


def _runtime() -> Any:
    return import_runtime("onnxruntime", "onnxruntime")


def _sentence(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class _OnnxRuntimeSession(Session):
    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._inputs = {value.name: _input(value) for value in session.get_inputs()}

    @property
    def inputs(self) -> dict[str, Input]:
        return dict(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._check(inputs)
        try:
            outputs = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # its exceptions share no base class
            raise ValueError(f"ONNX Runtime cannot run the model: {_sentence(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))

    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        if repeats < 1:
            raise ValueError(f"repeats is 1 or more, not {repeats}")
        self._check(inputs)
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        run, stamps_ns = self._session.run_with_iobinding, np.empty(repeats + 1, dtype=np.int64)
        stamps_ns[0] = perf_counter_ns()
        for index in range(1, repeats + 1):
            run(binding)
            stamps_ns[index] = perf_counter_ns()
        return (stamps_ns[1:] - stamps_ns[:-1]) / 1e6


def _input(value: Any) -> Input:
    if value.type not in _DTYPES:
        raise ValueError(f"input {value.name!r} of the model has the type {value.type}, which is not supported")
    return Input(tuple(size if isinstance(size, int) else None for size in value.shape), _DTYPES[value.type])
