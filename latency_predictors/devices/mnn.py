"""MNN on the processor (https://github.com/alibaba/MNN)."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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
from latency_predictors.devices.converter import convert
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, operators_named, outputs_of, unsupported
from latency_predictors.devices.native_output import on_standard_error
from latency_predictors.devices.static_backend import StaticBackend

#: MNN's word for each precision.
_PRECISIONS = {"f32": "high", "f16": "low", "bf16": "low_bf16"}
#: Its GELU is a formula that is this far from the exact one, relative to the largest output (rounded up).
_APPROXIMATION = 5e-4
#: Processors where MNN computes in float32 whatever it is told.
_FLOAT32_ONLY = ("x86_64", "AMD64", "i386", "i686")
#: The converter itself. MNN.tools.mnnconvert must not be imported: it installs a package and reports to a server.
_CONVERTER = "import sys, MNN, _tools; _tools.mnnconvert(sys.argv)"


class Mnn(StaticBackend):
    """MNN; models go through its converter.

    Args:
        threads: of one run.
        precision: `f32`, `f16` or `bf16`; the last two on ARM processors only.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name, title = "mnn", "MNN"

    def __init__(self, threads: int = 1, precision: str = "f32") -> None:
        self.threads = check_threads(self.name, threads)
        self._precision = check_option(self.name, "precision", precision, _PRECISIONS)
        self.tolerance = TOLERANCES[precision] + _APPROXIMATION

    def _load(self, model: ModelProto) -> Session:
        if self._precision != "f32" and platform.machine() in _FLOAT32_ONLY:
            raise ValueError(f"MNN cannot compute in {self._precision} on this processor; set precision to f32")
        _check_types(model)
        runtime = _runtime()
        with TemporaryDirectory() as folder, on_standard_error():
            return _MnnSession(runtime, self._module(runtime, model, _converted(model, Path(folder))), model)

    def _module(self, runtime: Any, model: ModelProto, path: Path) -> Any:
        config = {"backend": "CPU", "precision": _PRECISIONS[self._precision], "numThread": self.threads}
        manager = runtime.nn.create_runtime_manager((config,))
        names = list(inputs_of(model)), outputs_of(model)
        module = runtime.nn.load_module_from_file(str(path), *names, runtime_manager=manager)
        if module is None:
            raise ValueError("MNN cannot load the model that its own converter wrote")
        return module

    def version(self) -> str:
        return str(_runtime().version())


def _runtime() -> Any:
    with on_standard_error():  # importing it prints what the processor can do
        return import_runtime("MNN", "MNN")


def _check_types(model: ModelProto) -> None:
    for name, value in inputs_of(model).items():
        if value.dtype not in ("float32", "int32"):
            raise ValueError(f"MNN cannot load the model: input {name!r} is {value.dtype}, not float32 or int32")


def _converted(model: ModelProto, folder: Path) -> Path:
    """The path of the model in MNN's format; the converter only says in its log what was wrong."""
    source, target = folder / "model.onnx", folder / "model.mnn"
    source.write_bytes(model.SerializeToString())
    arguments = ["-f", "ONNX", "--modelFile", source.name, "--MNNModel", target.name, "--bizCode", "nasmyth"]
    log = convert([sys.executable, "-c", _CONVERTER, *arguments], folder, "MNN")
    if target.exists() and "Converted Success!" in log:
        return target
    unknown = operators_named(model, log.partition("Not Support:")[2].replace("ONNX::", " "))
    if unknown:
        raise unsupported("MNN", unknown)
    lines = [line for line in log.splitlines() if "rror" in line or "ailed" in line]
    raise ValueError(f"MNN cannot load the model: its converter says {(lines or ['nothing'])[0].strip()!r}")


class _MnnSession(LocalSession):
    def __init__(self, runtime: Any, module: Any, model: ModelProto) -> None:
        super().__init__("MNN", inputs_of(model))
        self._expr, self._module, self._names = runtime.expr, module, outputs_of(model)

    def _variables(self, inputs: Mapping[str, Array]) -> list[Any]:
        expr = self._expr
        kinds = {"float32": expr.float, "int32": expr.int}
        return [
            expr.const(np.ascontiguousarray(inputs[name]), list(inputs[name].shape), expr.NCHW, kinds[value.dtype])
            for name, value in self._inputs.items()
        ]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self._module.forward(self._variables(inputs))
        return {name: np.array(output.read()) for name, output in zip(self._names, outputs, strict=True)}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        variables, forward = self._variables(inputs), self._module.forward
        yield lambda: [output.read() for output in forward(variables)]  # computed when it is read
