"""Torch on the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor

from latency_predictors.devices.backend import Array, Session, check_option, check_threads
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, outputs_of
from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.static_backend import StaticBackend

MODES = ("eager", "channels_last", "compile")


class Torch(StaticBackend):
    """Torch in float32, running the operators of the ONNX model one by one, or compiled.

    Args:
        threads: within one operator; torch's own setting is as it was after a run. They spin while they wait, which
            makes runs several times slower on a busy machine: set OMP_WAIT_POLICY=passive before Python starts.
        mode: `eager`; `channels_last`, the same with channels last in memory, mostly faster for convolutions; or
            `compile`, which needs a C++ compiler and takes ten seconds to minutes to load a network.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name, title = "torch", "torch"

    def __init__(self, threads: int = 1, mode: str = "eager") -> None:
        self.threads = check_threads(self.name, threads)
        self._mode = check_option(self.name, "mode", mode, MODES)

    def _load(self, model: ModelProto) -> Session:
        network = OnnxInTorch(model, channels_last=self._mode == "channels_last")
        session = _TorchSession(network, model, self.threads)
        if self._mode == "compile":
            session.compile()
        return session

    def version(self) -> str:
        return str(torch.__version__)


class _TorchSession(LocalSession):
    def __init__(self, network: OnnxInTorch, model: ModelProto, threads: int) -> None:
        super().__init__("torch", inputs_of(model))
        self._names, self._threads = outputs_of(model), threads
        self._network: OnnxInTorch = network
        self._call: Callable[..., tuple[Tensor, ...]] = network

    def compile(self) -> None:
        """Compile for the sizes of the inputs, now rather than at the first run."""
        self._call = torch.compile(self._network, fullgraph=True, dynamic=False)
        self.run({name: np.zeros(value.shape, value.dtype) for name, value in self._inputs.items()})  # type: ignore[arg-type]

    def _tensors(self, inputs: Mapping[str, Array]) -> list[Tensor]:
        return [self._network.laid_out(torch.from_numpy(np.array(inputs[name]))) for name in self._inputs]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with _threads(self._threads), torch.inference_mode():
            outputs = self._call(*self._tensors(inputs))
        return {name: output.contiguous().numpy().copy() for name, output in zip(self._names, outputs, strict=True)}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        tensors = self._tensors(inputs)
        with _threads(self._threads), torch.inference_mode():
            yield lambda: self._call(*tensors)


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
