"""Images from a NumPy ``.npz`` file."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from nas.tasks.image_data import ImageData, image_set
from nas.tasks.task import DataError

REQUIRED = ("x_train", "y_train")
OPTIONAL = ("x_test", "y_test", "classes")
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path) -> ImageData:
    """Read ``x_train``, ``y_train`` and, if there, ``x_test`` with ``y_test`` and the names ``classes``.

    Images are uint8 (n, height, width[, channels]); labels are integers from 0, (n,).

    Raises:
        DataError: the file cannot be read or its arrays do not fit.
    """
    arrays = _read_arrays(path)
    train = image_set(arrays["x_train"], arrays["y_train"], f"{path}: train")
    test = image_set(arrays["x_test"], arrays["y_test"], f"{path}: test") if "x_test" in arrays else None
    names = arrays.get("classes")
    if names is None:
        names = np.arange(len(np.unique(arrays["y_train"])))
    elif names.ndim != 1:
        raise DataError(f"{path}: classes has shape {names.shape}, store one name a class")
    return ImageData(str(path), tuple(str(name) for name in names), train, test=test)


def _read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with path.open("rb") as stream, NpzFile(stream, allow_pickle=False) as file:
            _check_names(path, set(file.files))
            return {name: np.asarray(file[name]) for name in file.files}
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: is damaged, not an .npz file, or holds Python objects, write plain arrays with numpy.savez"
        ) from error


def _check_names(path: Path, names: set[str]) -> None:
    allowed = {*REQUIRED, *OPTIONAL}
    if not names.issuperset(REQUIRED) or names - allowed or ("x_test" in names) != ("y_test" in names):
        raise DataError(
            f"{path}: holds the arrays {', '.join(sorted(names)) or 'none'}, it needs {', '.join(REQUIRED)} and may hold "
            "x_test with y_test and classes, nothing else"
        )
