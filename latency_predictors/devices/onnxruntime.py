"""ONNX Runtime on the processor, or on what one of its execution providers drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from latency_predictors.devices import runner
from latency_predictors.devices.backend import (
    TOLERANCES,
    Array,
    Backend,
    Input,
    Model,
    Session,
    check_option,
    check_threads,
)
from latency_predictors.devices.local_session import LocalSession

_PROVIDERS = runner.PROVIDERS


class OnnxRuntime(Backend):
    """ONNX Runtime, as `runner` does it on machines that have nothing else of this project.

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
        check_option(self.name, "graph_optimization", graph_optimization, runner.LEVELS)
        check_option(self.name, "provider", provider, _PROVIDERS)
        if not isinstance(spinning, bool):
            raise ValueError(f"option 'spinning' of backend 'onnxruntime' is true or false, got {spinning!r}")
        self._runtime = runner.OnnxRuntime(threads, graph_optimization, provider, spinning)
        # Tensor cores (TF32) and neural processors (float16) keep 11 bits of what they multiply.
        self.tolerance = TOLERANCES["f32" if provider == "cpu" else "f16"]

    def prepare(self, model: Model) -> Session:
        return _OnnxRuntimeSession(self._runtime.prepare(model))

    def version(self) -> str:
        return self._runtime.version()


class _OnnxRuntimeSession(LocalSession):
    """The runner's session, with its inputs checked."""

    def __init__(self, loaded: runner.OnnxRuntimeSession) -> None:
        super().__init__("ONNX Runtime", {name: Input(*value) for name, value in loaded.inputs.items()})
        self._loaded, self._session = loaded, loaded.session

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._loaded.run(inputs)

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        yield self._loaded.bound(inputs)
