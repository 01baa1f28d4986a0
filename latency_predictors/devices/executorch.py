"""ExecuTorch on the processor (https://github.com/pytorch/executorch), with the kernels of XNNPACK."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from latency_predictors.devices.backend import Array, Session, check_threads, import_runtime
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, outputs_of
from latency_predictors.devices.native_output import on_standard_error
from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.runner import sentence
from latency_predictors.devices.static_backend import StaticBackend


class ExecuTorch(StaticBackend):
    """ExecuTorch in float32; operators that XNNPACK lacks run with its slow portable kernels.

    It loads what torch exports, so the operators are those of `OnnxInTorch`. Loading a network takes 4 to 15 seconds.

    Args:
        threads: 1. All networks of a process share one pool of threads, and crash when it is made anew for another
            number: the first one that is loaded makes it.

    Raises:
        ValueError: when `threads` is not 1.
    """

    name, title = "executorch", "ExecuTorch"

    def __init__(self, threads: int = 1) -> None:
        if check_threads(self.name, threads) != 1:
            raise ValueError(f"option 'threads' of backend 'executorch' can only be 1, got {threads}")
        self.threads = threads

    def _load(self, model: ModelProto) -> Session:
        network = _Network(OnnxInTorch(model)).eval()
        inputs = inputs_of(model)
        examples = tuple(
            torch.from_numpy(np.zeros([size or 1 for size in value.shape], value.dtype)) for value in inputs.values()
        )
        with on_standard_error(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # its own use of what torch deprecates
            try:
                program = _program(network, examples)
            except Exception as error:  # torch's and its own exceptions share no base class
                raise ValueError(f"ExecuTorch cannot load the model: {sentence(error)}") from error
        return _ExecuTorchSession(program, model)

    def version(self) -> str:
        import_runtime("executorch", "executorch")
        return importlib.metadata.version("executorch")


class _Network(nn.Module):
    """`OnnxInTorch` as torch's exporter takes it."""

    def __init__(self, network: OnnxInTorch) -> None:
        super().__init__()
        self._network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self._network(*inputs)


def _program(network: nn.Module, examples: tuple[Tensor, ...]) -> Any:
    """The loaded program."""
    partitioner = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    pool = importlib.import_module("executorch.extension.pybindings.portable_lib")
    exir, runtime = map(importlib.import_module, ("executorch.exir", "executorch.runtime"))
    exported = torch.export.export(network, examples)
    edge = exir.to_edge_transform_and_lower(exported, partitioner=[partitioner.XnnpackPartitioner()])
    if pool._threadpool_get_thread_count() != 1:
        pool._unsafe_reset_threadpool(1)
    return runtime.Runtime.get().load_program(edge.to_executorch().buffer)


class _ExecuTorchSession(LocalSession):
    def __init__(self, program: Any, model: ModelProto) -> None:
        super().__init__("ExecuTorch", inputs_of(model))
        self._program, self._method = program, program.load_method("forward")
        self._names = outputs_of(model)

    def _tensors(self, inputs: Mapping[str, Array]) -> list[Tensor]:
        return [torch.from_numpy(np.array(inputs[name], order="C")) for name in self._inputs]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self._method.execute(self._tensors(inputs))
        return {name: output.numpy().copy() for name, output in zip(self._names, outputs, strict=True)}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        tensors, execute = self._tensors(inputs), self._method.execute
        yield lambda: execute(tensors)
