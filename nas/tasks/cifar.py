"""CIFAR-10 and CIFAR-100 as their author publishes them: https://www.cs.toronto.edu/~kriz/cifar.html."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.tasks.array_pickle import load_pickle
from nas.tasks.image_data import ImageData, ImageSet, image_set
from nas.tasks.task import DataError

SIDE, CHANNELS = 32, 3
_IMAGE_BYTES = CHANNELS * SIDE * SIDE

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Layout:
    """The files of one of the published archives."""

    train: tuple[str, ...]
    test: str
    names: str
    read_batch: Callable[[Path], tuple[Array, Array]]
    """Images uint8 (n, 3072), all red before all green before all blue, and labels (n,)."""
    read_names: Callable[[Path], list[str]]


def is_cifar_folder(folder: Path) -> bool:
    """Whether the folder has the first training file of one of the archives."""
    return _layout(folder) is not None


def read_cifar(folder: Path) -> ImageData:
    """Read the unpacked ``cifar-10-batches-py``, ``cifar-10-batches-bin``, ``cifar-100-python`` or ``cifar-100-binary``.

    CIFAR-100 has its 100 fine classes. Images are (3, 32, 32). Nothing in the pickles is executed.

    Raises:
        DataError: a file is missing, is damaged or holds something else.
    """
    layout = _layout(folder)
    if layout is None:
        raise DataError(f"{folder}: has none of {', '.join(each.train[0] for each in LAYOUTS)}, unpack CIFAR there")
    for name in (*layout.train, layout.test, layout.names):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: has no file {name}, unpack the archive again")
    classes = tuple(layout.read_names(folder / layout.names))
    train = _read_set([folder / name for name in layout.train], layout.read_batch)
    return ImageData(str(folder), classes, train, test=_read_set([folder / layout.test], layout.read_batch))


def _layout(folder: Path) -> _Layout | None:
    return next((layout for layout in LAYOUTS if (folder / layout.train[0]).is_file()), None)


def _read_set(paths: list[Path], read_batch: Callable[[Path], tuple[Array, Array]]) -> ImageSet:
    batches = [read_batch(path) for path in paths]
    for path, (images, labels) in zip(paths, batches, strict=True):
        if len(images) != len(labels) or not len(images):
            raise DataError(f"{path}: {len(images)} images but {len(labels)} labels, unpack the archive again")
    images = np.concatenate([images for images, _ in batches]).reshape(-1, CHANNELS, SIDE, SIDE)
    return image_set(images.transpose(0, 2, 3, 1), np.concatenate([labels for _, labels in batches]), str(paths[0]))


def _read_python_batch(path: Path, label_key: bytes) -> tuple[Array, Array]:
    batch = load_pickle(path)
    images, labels = (batch.get(b"data"), batch.get(label_key)) if isinstance(batch, dict) else (None, None)
    if not (isinstance(images, np.ndarray) and images.ndim == 2 and images.shape[1] == _IMAGE_BYTES):
        raise DataError(f"{path}: has no array data of shape (n, {_IMAGE_BYTES}), unpack the archive again")
    if not (isinstance(labels, list) and all(type(label) is int and 0 <= label < 256 for label in labels)):
        raise DataError(f"{path}: has no list {label_key.decode()} of class numbers, unpack the archive again")
    return images, np.array(labels, dtype=np.int64)


def _read_python_names(path: Path, key: bytes) -> list[str]:
    meta = load_pickle(path)
    names = meta.get(key) if isinstance(meta, dict) else None
    if not (isinstance(names, list) and all(isinstance(name, bytes) for name in names)):
        raise DataError(f"{path}: has no list {key.decode()}, unpack the archive again")
    return [name.decode("utf-8", "replace") for name in names]


def _read_binary_batch(path: Path, label_bytes: int) -> tuple[Array, Array]:
    """Records of ``label_bytes`` labels, the finest last, and the bytes of the image."""
    values = np.fromfile(path, dtype=np.uint8)
    record = label_bytes + _IMAGE_BYTES
    if len(values) % record:
        raise DataError(
            f"{path}: has {len(values)} bytes, not a multiple of the {record} of an image, unpack the archive again"
        )
    rows = values.reshape(-1, record)
    return rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64)


def _read_text_names(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]


LAYOUTS = (
    _Layout(
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        "batches.meta",
        lambda path: _read_python_batch(path, b"labels"),
        lambda path: _read_python_names(path, b"label_names"),
    ),
    _Layout(
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        lambda path: _read_binary_batch(path, 1),
        _read_text_names,
    ),
    _Layout(
        ("train",),
        "test",
        "meta",
        lambda path: _read_python_batch(path, b"fine_labels"),
        lambda path: _read_python_names(path, b"fine_label_names"),
    ),
    _Layout(
        ("train.bin",),
        "test.bin",
        "fine_label_names.txt",
        lambda path: _read_binary_batch(path, 2),
        _read_text_names,
    ),
)
