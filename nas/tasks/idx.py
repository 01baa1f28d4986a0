"""Images from IDX files, the format of MNIST, Fashion-MNIST and their relatives.

The format: http://yann.lecun.com/exdb/mnist, section "the IDX file format".
"""

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nas.tasks.image_data import ImageData, ImageSet, image_set
from nas.tasks.task import DataError

UNSIGNED_BYTE = 0x08
_AT_ONCE = 2**20


def is_idx_folder(folder: Path) -> bool:
    """Whether the folder has training images under the name that the authors of MNIST gave them."""
    return _find(folder, "train", "images") is not None


def read_idx(folder: Path) -> ImageData:
    """Read ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and, if there, the same of ``t10k``, the test set.

    The files may end in ``.gz`` and may be called ``train-images.idx3-ubyte``. The names of the classes are their numbers.

    Raises:
        DataError: a file is missing, is damaged, or does not fit its partner.
    """
    train = _read_pair(folder, "train")
    has_test = any(_find(folder, "t10k", content) for content in ("images", "labels"))
    test = _read_pair(folder, "t10k") if has_test else None
    classes = tuple(str(label) for label in range(len(train.labels.unique())))
    return ImageData(str(folder), classes, train, test=test)


def _names(part: str, content: str) -> list[str]:
    kind = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}[content]
    return [f"{part}-{content}{mark}{kind}{end}" for mark in "-." for end in ("", ".gz")]


def _find(folder: Path, part: str, content: str) -> Path | None:
    return next((folder / name for name in _names(part, content) if (folder / name).is_file()), None)


def _read_pair(folder: Path, part: str) -> ImageSet:
    arrays = {}
    for content, dimensions in (("images", 3), ("labels", 1)):
        path = _find(folder, part, content)
        if path is None:
            raise DataError(f"{folder}: has no file {_names(part, content)[0]} or {_names(part, content)[1]}, add it")
        arrays[content] = _read_array(path, dimensions)
    return image_set(arrays["images"], arrays["labels"], f"{folder}: {part}")


def _read_array(path: Path, dimensions: int) -> np.ndarray[Any, Any]:
    """The uint8 array of a file: two zero bytes, type, number of dimensions, the big-endian sizes, the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
                raise DataError(
                    f"{path}: starts with {head[:4].hex(' ') or 'nothing'}, not with 00 00 08 {dimensions:02x} as an IDX "
                    f"file of bytes in {dimensions} dimensions does, replace it"
                )
            if len(head) < 4 + 4 * dimensions:
                raise DataError(f"{path}: ends within its header, fetch it again")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            values = _read_at_most(file.read, math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read to its end ({error}), fetch it again") from error
    if len(values) != math.prod(shape):
        found = f"only {len(values)}" if len(values) < math.prod(shape) else "more"
        raise DataError(f"{path}: announces {math.prod(shape)} values but holds {found}, fetch it again")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_at_most(read_piece: Callable[[int], bytes], length: int) -> bytearray:
    """Up to ``length`` bytes, read piece by piece so that a header that lies cannot claim memory."""
    read = bytearray()
    while len(read) < length and (piece := read_piece(min(_AT_ONCE, length - len(read)))):
        read += piece
    return read
