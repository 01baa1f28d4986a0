"""ncnn on the processor (https://github.com/Tencent/ncnn), through its converter pnnx; for convolutional networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from onnx import ModelProto, shape_inference

from latency_predictors.devices.backend import Array, Session, check_threads, import_runtime
from latency_predictors.devices.converter import convert
from latency_predictors.devices.local_session import LocalSession
from latency_predictors.devices.models import inputs_of, operators_named, output_shapes, unsupported
from latency_predictors.devices.native_output import on_standard_error
from latency_predictors.devices.static_backend import StaticBackend

_NO_BATCH = 233  # ncnn's number for a tensor none of whose dimensions is the batch


class Ncnn(StaticBackend):
    """ncnn in float32; models go through pnnx, and what it wrote is always loaded.

    It is made for convolutional networks with images as inputs: networks that mix the images of a batch, or tokens,
    are converted to something else or not at all, which loading and the check of the outputs find out.

    Threads of OpenMP spin while they wait, which makes two-thread runs several times slower on a busy machine. They
    do not when this backend imports ncnn; a program that imports it before must set OMP_WAIT_POLICY=passive first.

    Args:
        threads: of one run.

    Raises:
        ValueError: when an option has an impossible value.
    """

    name, title = "ncnn", "ncnn"

    def __init__(self, threads: int = 1) -> None:
        self.threads = check_threads(self.name, threads)

    def _load(self, model: ModelProto) -> Session:
        for name, value in inputs_of(model).items():
            if value.dtype != "float32":
                raise ValueError(f"ncnn cannot load the model: input {name!r} is {value.dtype}, not float32")
        runtime = _runtime()
        with TemporaryDirectory() as folder, on_standard_error():
            _convert(model, Path(folder))
            return _NcnnSession(runtime, self._net(runtime, Path(folder)), model)

    def _net(self, runtime: Any, folder: Path) -> Any:
        net = runtime.Net()
        net.opt.num_threads = self.threads
        for option in dir(net.opt):  # float32 throughout
            if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                setattr(net.opt, option, False)
        # Layers that it does not know are an error of load_param.
        if net.load_param(str(folder / "model.ncnn.param")) or net.load_model(str(folder / "model.ncnn.bin")):
            raise ValueError("ncnn cannot load the model that its converter pnnx wrote")
        return net

    def version(self) -> str:
        return str(_runtime().__version__)


def _runtime() -> Any:
    with _passive_waiting():
        return import_runtime("ncnn", "ncnn pnnx")


@contextmanager
def _passive_waiting() -> Iterator[None]:
    """OpenMP reads its settings when its library is loaded."""
    before = os.environ.get("OMP_WAIT_POLICY")
    if before is None and "ncnn" not in sys.modules:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_WAIT_POLICY", None)


def _convert(model: ModelProto, folder: Path) -> None:
    """Write model.ncnn.param and model.ncnn.bin into `folder`.

    pnnx ends well for operators that it does not know and says `todo` in its log.
    """
    program = import_runtime("pnnx", "ncnn pnnx").EXEC_PATH
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    log = convert([program, "model.onnx", "fp16=0"], folder, "ncnn")
    unknown = [word for line in log.splitlines() if line.startswith("todo ") for word in line.split()[1:2]]
    if unknown:
        raise unsupported("ncnn", operators_named(model, " ".join(unknown)) or unknown)
    if not (folder / "model.ncnn.param").exists():
        raise ValueError("ncnn cannot load the model: its converter pnnx crashed")


class _NcnnSession(LocalSession):
    def __init__(self, runtime: Any, net: Any, model: ModelProto) -> None:
        super().__init__("ncnn", inputs_of(model))
        self._mat, self._net = runtime.Mat, net
        self._shapes = output_shapes(shape_inference.infer_shapes(model))

    def _mats(self, inputs: Mapping[str, Array]) -> list[Any]:
        """Copies: a Mat does not keep the array alive that it was made from."""
        return [self._mat(np.ascontiguousarray(inputs[name]), batch_index=0).clone() for name in self._inputs]

    def _extract(self, mats: list[Any]) -> list[Any]:
        extractor = self._net.create_extractor()
        for index, mat in enumerate(mats):
            extractor.input(f"in{index}", mat)
        results = [extractor.extract(f"out{index}") for index in range(len(self._shapes))]
        if any(code for code, _ in results):
            raise ValueError("ncnn cannot run the model: it is no convolutional network over a batch of images")
        return [mat for _, mat in results]

    def _outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = zip(self._shapes.items(), self._extract(self._mats(inputs)), strict=True)
        return {name: _array(mat, shape) for (name, shape), mat in outputs}

    @contextmanager
    def _timed_run(self, inputs: Mapping[str, Array]) -> Iterator[Callable[[], object]]:
        mats = self._mats(inputs)
        yield lambda: self._extract(mats)


def _array(mat: Any, shape: tuple[int | None, ...]) -> Array:
    """The values of `mat`, which has its batch first or none."""
    for batch_index in (0, _NO_BATCH):
        array = np.array(mat.numpy(batch_index=batch_index))
        if array.shape == shape:
            return array
    raise ValueError(f"ncnn cannot run the model: an output has the shape {array.shape} in place of {shape}")
