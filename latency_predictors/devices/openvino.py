"""OpenVINO on the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import ModelProto

from latency_predictors.devices.backend import (
    TOLERANCES,
    Array,
    Session,
    check_option,
    check_threads,
    import_runtime,
)
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, operators_named, outputs_of, unsupported
from latency_predictors.devices.runner import sentence
from latency_predictors.devices.static_backend import StaticBackend

#: Of each precision: the word that the processor's capabilities have for it.
_CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


class OpenVino(StaticBackend):
    """OpenVINO's CPU plugin: one stream, tuned for latency.

    The precision is always set: left alone, the plugin computes in bfloat16 wherever the processor can.

    Args:
        threads: of the one stream.
        precision: `f32`, `bf16` or `f16`; the last two where the processor has instructions for them.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name, title = "openvino", "OpenVINO"

    def __init__(self, threads: int = 1, precision: str = "f32") -> None:
        self.threads = check_threads(self.name, threads)
        self._precision = check_option(self.name, "precision", precision, _CAPABILITIES)
        self.tolerance = TOLERANCES[precision]

    def _load(self, model: ModelProto) -> Session:
        runtime = _runtime()
        core = runtime.Core()
        self._check_precision(core)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": self._precision,
        }
        try:
            compiled = core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU", settings)
        except RuntimeError as error:
            raise _load_error(model, str(error)) from error
        return _OpenVinoSession(runtime, compiled, model)

    def _check_precision(self, core: Any) -> None:
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        able = [precision for precision, word in _CAPABILITIES.items() if word in capabilities]
        if self._precision not in able:
            raise ValueError(
                f"OpenVINO cannot compute in {self._precision} on this processor; set precision to {' or '.join(able)}"
            )

    def version(self) -> str:
        return str(_runtime().__version__).partition("-")[0]


def _runtime() -> Any:
    return import_runtime("openvino", "openvino")


def _load_error(model: ModelProto, message: str) -> ValueError:
    """The plugin's messages begin with places in its source; what went wrong stands further down."""
    unknown = operators_named(model, message.partition("No conversion rule found for operations:")[2].replace("-", " "))
    if unknown:
        return unsupported("OpenVINO", unknown)
    lines = [line for line in message.strip().splitlines() if not line.startswith(("Exception from", "Check '"))]
    return ValueError(f"OpenVINO cannot load the model: {sentence(lines[0] if lines else message)}")


class _OpenVinoSession(LocalSession):
    def __init__(self, runtime: Any, compiled: Any, model: ModelProto) -> None:
        super().__init__("OpenVINO", inputs_of(model))
        self._tensor = runtime.Tensor
        self._request, self._names = compiled.create_infer_request(), outputs_of(model)

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._request.infer({name: np.ascontiguousarray(value) for name, value in inputs.items()})
        return {name: self._request.get_output_tensor(i).data.copy() for i, name in enumerate(self._names)}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        for name, value in inputs.items():
            self._request.set_tensor(name, self._tensor(np.ascontiguousarray(value)))
        yield lambda: self._request.infer(share_outputs=True)
