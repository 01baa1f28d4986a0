"""What every runtime does: load an ONNX model, run it, time it."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from search_spaces.space import nearest

Array = NDArray[Any]
Model = bytes | Path

_BACKENDS = {
    "executorch": "latency_predictors.devices.executorch:ExecuTorch",
    "mnn": "latency_predictors.devices.mnn:Mnn",
    "ncnn": "latency_predictors.devices.ncnn:Ncnn",
    "onnxruntime": "latency_predictors.devices.onnxruntime:OnnxRuntime",
    "openvino": "latency_predictors.devices.openvino:OpenVino",
    "torch": "latency_predictors.devices.torch:Torch",
    "tract": "latency_predictors.devices.tract:Tract",
}

#: Largest difference to torch's float32 outputs, relative to the largest output, by the precision a runtime computes
#: in. Sums in another order differ by 1e-7 to 7e-5 (small outputs of large sums); float16 and bfloat16 keep 11 and 8
#: bits of every activation, and a network adds up tens of such roundings.
TOLERANCES = {"f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        shape: its sizes; `None` where the model leaves a size free.
        dtype: numpy's name of its type.
    """

    shape: tuple[int | None, ...]
    dtype: str


class Session(ABC):
    """One model, loaded and ready to run."""

    @property
    @abstractmethod
    def inputs(self) -> dict[str, Input]:
        """The inputs of the model by name."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name.

        Raises:
            ValueError: when the inputs are not those of the model.
        """

    @abstractmethod
    def time(self, inputs: Mapping[str, Array], repeats: int) -> NDArray[np.float64]:
        """Milliseconds of each of `repeats` runs, shape (repeats,), without warm-up.

        Raises:
            ValueError: when the inputs are not those of the model, or `repeats` is less than 1.
        """

    def _check(self, inputs: Mapping[str, Array]) -> None:
        """Raise a `ValueError` unless names, types and shapes of `inputs` are those of the model."""
        if set(inputs) != set(self.inputs):
            raise ValueError(f"the model takes the inputs {', '.join(self.inputs)}, got {', '.join(inputs) or 'none'}")
        for name, wanted in self.inputs.items():
            value = np.asarray(inputs[name])
            fits = len(value.shape) == len(wanted.shape) and all(
                size in (None, got) for size, got in zip(wanted.shape, value.shape, strict=True)
            )
            if not fits or value.dtype != wanted.dtype:
                raise ValueError(
                    f"input {name!r} is {wanted.dtype} of shape {wanted.shape}, got {value.dtype} of shape {value.shape}"
                )


class Backend(ABC):
    """A runtime with its options; making one neither imports nor starts the runtime.

    A backend's options are the keyword arguments of its constructor, all with defaults, and it raises a
    `ValueError` for a value that it does not take. `prepare` loads a model into a `Session`.

    Attributes:
        title: the runtime's name as its makers write it, for messages.
        threads: how many threads one run uses.
        tolerance: largest difference to torch's float32 outputs, relative to the largest output, that its precision
            explains (see `latency_predictors.devices.parity`).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    threads: int
    tolerance: float = TOLERANCES["f32"]

    @abstractmethod
    def prepare(self, model: Model) -> Session:
        """Load an ONNX model, given as bytes or as the path of a file.

        Raises:
            ValueError: when the runtime cannot read the model or does not know one of its operators.
            ModuleNotFoundError: when the runtime is not installed; the message says what to install.
        """

    @abstractmethod
    def version(self) -> str:
        """Version of the runtime.

        Raises:
            ModuleNotFoundError: when the runtime is not installed; the message says what to install.
        """


def names() -> list[str]:
    """The backends that there are."""
    return sorted(_BACKENDS)


def make(name: str, options: Mapping[str, Any]) -> Backend:
    """The backend `name` with `options`.

    Raises:
        ValueError: when the backend or an option is unknown (naming the nearest), or an option has an impossible value.
    """
    if name not in _BACKENDS:
        raise ValueError(f"there is no backend {name!r}{nearest(name, names())}; there are {', '.join(names())}")
    module, _, attribute = _BACKENDS[name].partition(":")
    backend = getattr(importlib.import_module(module), attribute)
    known = inspect.signature(backend).parameters
    for option in options:
        if option not in known:
            raise ValueError(
                f"backend {name!r} has no option {option!r}{nearest(str(option), known)}; it takes {', '.join(known)}"
            )
    made: Backend = backend(**options)
    return made


def import_runtime(module: str, package: str) -> Any:
    """Import `module`.

    Raises:
        ModuleNotFoundError: saying which package to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(f"{module} is not installed: pip install {package}", name=module) from error


def check_threads(backend: str, threads: object) -> int:
    """`threads` when it is a whole number from 1.

    Raises:
        ValueError: otherwise.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"option 'threads' of backend {backend!r} is a whole number from 1, got {threads!r}")
    return threads


def check_option(backend: str, option: str, value: object, known: Iterable[str]) -> str:
    """`value` when it is one of `known`.

    Raises:
        ValueError: otherwise, naming the nearest.
    """
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"option {option!r} of backend {backend!r} cannot be {value!r}{nearest(str(value), known)}; "
            f"it takes {', '.join(known)}"
        )
    return value
