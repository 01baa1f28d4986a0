"""Tract, an inference engine in Rust (https://github.com/sonos/tract)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from latency_predictors.devices.backend import Array, Session, check_threads, import_runtime
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, operators_named, outputs_of, unsupported
from latency_predictors.devices.runner import sentence
from latency_predictors.devices.static_backend import StaticBackend


class Tract(StaticBackend):
    """Tract on the processor; it computes in float32 on one thread.

    Args:
        threads: 1.

    Raises:
        ValueError: when `threads` is not 1.
    """

    name, title = "tract", "tract"

    def __init__(self, threads: int = 1) -> None:
        if check_threads(self.name, threads) != 1:
            raise ValueError(f"option 'threads' of backend 'tract' can only be 1, got {threads}")
        self.threads = threads

    def _load(self, model: ModelProto) -> Session:
        tract = _runtime()
        with TemporaryDirectory() as folder:  # it reads models from files only
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            try:
                runnable = tract.onnx().load(path).into_model().into_runnable()
            except tract.TractError as error:
                unknown = operators_named(model, str(error).partition("Unimplemented(")[2].partition(")")[0])
                if unknown:
                    raise unsupported(self.title, unknown) from error
                raise ValueError(f"tract cannot load the model: {sentence(error)}") from error
        return _TractSession(tract, runnable, model)

    def version(self) -> str:
        return str(_runtime().version())


def _runtime() -> Any:
    return import_runtime("tract", "tract")


class _TractSession(LocalSession):
    def __init__(self, runtime: Any, runnable: Any, model: ModelProto) -> None:
        super().__init__("tract", inputs_of(model))
        self._tensor, self._names, self._state = runtime.Tensor, outputs_of(model), runnable.spawn_state()

    def _tensors(self, inputs: Mapping[str, Array]) -> list[Any]:
        return [self._tensor.from_numpy(inputs[name]) for name in self._inputs]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self._state.run(self._tensors(inputs))
        return {name: output.to_numpy() for name, output in zip(self._names, outputs, strict=True)}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        tensors = self._tensors(inputs)
        yield lambda: self._state.run(tensors)
