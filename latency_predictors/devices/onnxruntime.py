"""ONNX Runtime on the processor, or on what one of its execution providers drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from latency_predictors.devices.backend import (
    TOLERANCES,
    Array,
    Backend,
    Input,
    Model,
    Session,
    check_option,
    check_threads,
    import_runtime,
)
from latency_predictors.devices.local_session import LocalSession, sentence

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}

#: ONNX Runtime's name of each provider, and the package with a build that has it.
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
    "migraphx": ("MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "qnn": ("QNNExecutionProvider", "onnxruntime-qnn"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
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
    """ONNX Runtime.

    A provider other than `cpu` must run every operator of a model: one that it cannot run is an error, where ONNX
    Runtime by itself would run it on the processor. Inputs and outputs lie in the processor's memory, so that
    copying them to a graphics card and back is part of the latency.

    Args:
        threads: within one operator.
        graph_optimization: `all`, `extended`, `basic` or `disabled`.
        provider: `cpu`, `coreml`, `cuda`, `directml`, `migraphx`, `openvino`, `qnn` or `tensorrt`.
        spinning: whether threads spin while they wait. On a busy machine spinning threads made two-thread runs ten
            times slower.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name, title = "onnxruntime", "ONNX Runtime"

    def __init__(
        self, threads: int = 1, graph_optimization: str = "all", provider: str = "cpu", spinning: bool = False
    ) -> None:
        self.threads = check_threads(self.name, threads)
        self._level = _LEVELS[check_option(self.name, "graph_optimization", graph_optimization, _LEVELS)]
        self._provider = check_option(self.name, "provider", provider, _PROVIDERS)
        if not isinstance(spinning, bool):
            raise ValueError(f"option 'spinning' of backend 'onnxruntime' is true or false, got {spinning!r}")
        self._spinning = spinning
        # Tensor cores (TF32) and neural processors (float16) keep 11 bits of what they multiply.
        self.tolerance = TOLERANCES["f32" if provider == "cpu" else "f16"]

    def prepare(self, model: Model) -> Session:
        runtime = _runtime()
        provider = self._checked_provider(runtime)
        source = model if isinstance(model, bytes) else str(model)
        try:
            session = runtime.InferenceSession(
                source, self._session_options(runtime), providers=[provider], enable_fallback=0
            )
        except Exception as error:  # its exceptions share no base class
            raise ValueError(f"ONNX Runtime cannot load the model: {sentence(error)}") from error
        if session.get_providers()[0] != provider:
            raise ValueError(
                f"ONNX Runtime could not start the provider {self._provider!r} and would have used the processor; "
                "install the driver and libraries that it needs"
            )
        return _OnnxRuntimeSession(session)

    def _checked_provider(self, runtime: Any) -> str:
        wanted, package = _PROVIDERS[self._provider]
        available = runtime.get_available_providers()
        if wanted not in available:
            here = ", ".join(name for name, (provider, _) in _PROVIDERS.items() if provider in available)
            raise ValueError(
                f"this build of ONNX Runtime lacks the provider {self._provider!r} (it has {here}): "
                f"pip install {package} in place of onnxruntime"
            )
        return wanted

    def _session_options(self, runtime: Any) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, self._level)
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spinning)))
        if self._provider != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = 3
        return options

    def version(self) -> str:
        return str(_runtime().__version__)


def _runtime() -> Any:
    return import_runtime("onnxruntime", "onnxruntime")


class _OnnxRuntimeSession(LocalSession):
    def __init__(self, session: Any) -> None:
        super().__init__("ONNX Runtime", {value.name: _input(value) for value in session.get_inputs()})
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for name in self._names:
            binding.bind_output(name, "cpu")
        run = self._session.run_with_iobinding
        yield lambda: run(binding)


def _input(value: Any) -> Input:
    if value.type not in _DTYPES:
        raise ValueError(f"input {value.name!r} of the model has the type {value.type}, which is not supported")
    return Input(tuple(size if isinstance(size, int) else None for size in value.shape), _DTYPES[value.type])
