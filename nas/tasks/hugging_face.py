"""Images or texts from the Hugging Face Hub, or from a folder or file that the library ``datasets`` wrote."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from nas.tasks.encoded import EncodedImage, EncodedSet, Size, decode
from nas.tasks.image_data import ImageData
from nas.tasks.task import DataError
from nas.tasks.text_data import TextData

PREFIXES = ("hf:", "hf-stream:")
SPLITS: Mapping[str, str] = MappingProxyType(
    {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
)
_SOURCE = re.compile(r"(hf|hf-stream):(?P<name>[^:?]+)(:(?P<config>[^:?]+))?(\?limit=(?P<limit>[1-9][0-9]{0,17}))?")
_SAVED_TO_DISK = ("dataset_dict.json", "state.json")
_TEXT = "text"
_STRINGS = ("string", "large_string")
_HIDDEN = -1  # the label of test images whose classes are not published

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class _Columns:
    """The columns that are read, and the names of the classes."""

    image: str
    label: str
    classes: tuple[str, ...]


def read_hugging_face(source: str, base: Path, size: Size | None = None) -> ImageData:
    """Read ``hf:NAME`` or ``hf:NAME:CONFIG``, where NAME is a data set of the Hub or a path.

    A path, relative to ``base``, is a folder of ``save_to_disk``, a parquet file, or a folder of files that
    ``load_dataset`` understands; it comes before a data set of the same name. The images are the column of type
    ``Image``; the labels are that of type ``ClassLabel``, if there are several the one with the most classes. Splits
    other than train, validation (valid, val) and test are passed over, and so is one whose labels are all -1, which is
    how the Hub marks labels that are not published. The images become what ``encoded.decode`` says.

    ``hf-stream:`` in place of ``hf:`` reads without a copy on the disk: nothing is kept for the next time. Either way
    all images end in memory. ``?limit=N`` at the end takes the first N images of each split.

    Raises:
        DataError: the library is missing, the data set cannot be loaded, or it is not one of labelled images.
    """

    def read(splits: Mapping[str, Any], limit: int | None) -> tuple[tuple[str, ...], dict[str, EncodedSet]]:
        columns = _columns(splits["train"].features or {}, source)
        return columns.classes, {
            name: _read(split, columns, limit, f"{source}: {name}") for name, split in splits.items()
        }

    classes, sets = _read_splits(source, base, read)
    labelled = {name: part for name, part in sets.items() if name == "train" or set(part.labels) != {_HIDDEN}}
    return decode(source, classes, labelled, size)


def read_hugging_face_text(source: str, base: Path) -> TextData:
    """Read texts from what ``read_hugging_face`` can find: each row is a document, rows without text are passed over.

    The text is the column ``text``, or else the only one of strings.

    Raises:
        DataError: the library is missing, the data set cannot be loaded, or it is not one of texts.
    """

    def read(splits: Mapping[str, Any], limit: int | None) -> dict[str, tuple[bytes, ...]]:
        column = _text_column(splits["train"].features or {}, source)
        return {
            name: tuple(row[column].encode() for row in islice(split.select_columns([column]), limit) if row[column])
            for name, split in splits.items()
        }

    return TextData.of(source, _read_splits(source, base, read))


def _read_splits(source: str, base: Path, read: Callable[[Mapping[str, Any], int | None], _Read]) -> _Read:
    """What ``read`` makes of the splits, by our names for them, and of how many rows of each are wanted."""
    request = _SOURCE.fullmatch(source)
    if request is None:
        raise DataError(f"{source}: is not of the form hf:NAME, hf:NAME:CONFIG or hf-stream:NAME?limit=N")
    limit = None if request["limit"] is None else int(request["limit"])
    try:
        stored = _load(request["name"], request["config"], base, streaming=source.startswith("hf-stream:"))
        splits = {SPLITS[name]: split for name, split in stored.items() if name in SPLITS}
        if "train" not in splits:
            raise DataError(f"{source}: has the splits {', '.join(map(str, stored))}, one must be train")
        return read(splits, limit)
    except (DataError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise DataError(f"{source}: needs the library datasets, pip install 'nasmyth[datasets]'") from error
    except Exception as error:  # its builders, Arrow and the network client each raise their own
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise DataError(f"{source}: cannot be loaded ({reason}), check the name, the path or the connection") from error


def _load(name: str, config: str | None, base: Path, *, streaming: bool) -> Mapping[str, Any]:
    """The splits by name; those of ``save_to_disk`` are mapped from their files without a copy in any case."""
    import datasets

    path = base / Path(name).expanduser()
    if any((path / mark).is_file() for mark in _SAVED_TO_DISK):
        loaded = datasets.load_from_disk(str(path))
    elif path.is_file():
        loaded = datasets.load_dataset("parquet", data_files=str(path), streaming=streaming)
    else:
        loaded = datasets.load_dataset(str(path) if path.is_dir() else name, config, streaming=streaming)
    return loaded if isinstance(loaded, dict) else {"train": loaded}


def _columns(features: Mapping[str, Any], source: str) -> _Columns:
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(images) != 1 or not labels:
        raise DataError(
            f"{source}: of the columns {', '.join(features) or 'none'}, {len(images)} are of type Image and {len(labels)} "
            "of type ClassLabel, one of each is needed, cast_column makes them"
        )
    label = max(labels, key=lambda name: len(features[name].names))
    return _Columns(images[0], label, tuple(features[label].names))


def _text_column(features: Mapping[str, Any], source: str) -> str:
    strings = [name for name, feature in features.items() if getattr(feature, "dtype", None) in _STRINGS]
    if _TEXT in strings:
        return _TEXT
    if len(strings) != 1:
        raise DataError(
            f"{source}: of the columns {', '.join(features) or 'none'}, {len(strings)} hold strings and none is named "
            f"{_TEXT}, rename_column names one so"
        )
    return strings[0]


def _read(split: Any, columns: _Columns, limit: int | None, origin: str) -> EncodedSet:
    import datasets

    encoded = EncodedSet([], [])
    rows = split.select_columns([columns.image, columns.label]).cast_column(columns.image, datasets.Image(decode=False))
    for number, row in enumerate(islice(rows, limit)):
        where = f"{origin}, row {number}"
        if row[columns.image] is None or row[columns.label] is None:
            raise DataError(f"{where}: has no image or no label, remove it")
        encoded.images.append(EncodedImage(where, _content(row[columns.image])))
        encoded.labels.append(row[columns.label])
    return encoded


def _content(image: Mapping[str, Any]) -> bytes:
    """The bytes of the image file, which are in the row or where its path says."""
    from datasets.utils.file_utils import xopen

    if image["bytes"] is not None:
        return bytes(image["bytes"])
    with xopen(image["path"], "rb") as file:
        return bytes(file.read())
