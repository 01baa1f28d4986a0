"""Pickles of plain values and NumPy bytes, read without executing anything that they name."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nas.tasks.task import DataError


def load_pickle(path: Path) -> Any:
    """The dicts, lists, tuples, bytes, texts, numbers and uint8 arrays in a pickle of Python 2 or 3.

    Texts of Python 2 come as bytes. NumPy's own unpickling takes no part: a forged array state could reach memory.

    Raises:
        DataError: the pickle is damaged or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            return _finished(_Unpickler(file, encoding="bytes").load())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # documented: a damaged pickle may raise any exception
        raise DataError(f"{path}: is damaged or not a pickle, unpack the archive again") from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise DataError(
                f"asks for {module}.{name}, which is not data and was not run; do not use this file, fetch the original"
            )
        return _STAND_INS[module, name]


class _DType:
    """Stands in for numpy.dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in (b"u1", "u1"):
            raise DataError(f"holds an array of type {code!r}, only bytes (u1) are read")

    def __setstate__(self, state: Any) -> None:
        """The state holds byte order and fields, of which single bytes have none."""


class _Array:
    """Stands in for numpy.ndarray and for the function that makes an empty one."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray[Any, Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, values = state
        if not isinstance(dtype, _DType) or not isinstance(values, bytes) or len(values) != math.prod(shape):
            raise DataError(f"holds an array of shape {shape} with other content, unpack the archive again")
        self.values = np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Latin1(bytes):
    """Stands in for _codecs.encode, with which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: str, encoding: str) -> "_Latin1":
        return super().__new__(cls, text.encode("latin-1"))

    def __setstate__(self, state: Any) -> None:
        raise DataError("gives bytes a state, unpack the archive again")


_STAND_INS: Mapping[tuple[str, str], type] = MappingProxyType(
    {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): _Latin1,
    }
)


def _finished(value: Any) -> Any:
    """The value with its arrays in the place of their stand-ins."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {key: _finished(item) for key, item in value.items()}
    return value
