"""Images from WebDataset shards: tar files in which the files of a sample share their name up to the first dot."""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nas.tasks.encoded import EncodedImage, EncodedSet, Size, decode
from nas.tasks.image_data import ImageData
from nas.tasks.task import DataError

SPLITS: Mapping[str, str] = MappingProxyType({"train": "train", "val": "validation", "test": "test"})
IMAGES = ("jpg", "jpeg", "png", "webp")
LABEL = "cls"
CLASSES = "classes.txt"
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:|.*::")


def is_shards(name: str) -> bool:
    """Whether a source is called like a tar file or several, ``train-{000..003}.tar``."""
    return name.lower().endswith(".tar")


def is_shard_folder(folder: Path) -> bool:
    """Whether the folder has files ``train-*.tar``."""
    return any(folder.glob("train-*.tar"))


def read_shards(name: str, base: Path, size: Size | None = None) -> ImageData:
    """Read the training images of ``shards.tar`` or ``train-{000..003}.tar``, a path relative to ``base``.

    A sample has one image (.jpg, .jpeg, .png or .webp) and its class as a number from 0 in ``.cls``; its other files are
    passed over. The classes have the names that stand line by line in ``classes.txt`` beside the shards, else their
    numbers. The images become what ``encoded.decode`` says and are all kept in memory.

    Raises:
        DataError: the library is missing, the source is a command or an address, a shard cannot be read, or a sample
            has no single image and label.
    """
    if _ADDRESS.match(name):
        raise DataError(f"{name}: is a command or an address, of which none is opened, give the path of files")
    shards = []
    for each in _expand(name):
        shards.append(base / Path(each).expanduser())
        if not shards[-1].is_file():
            raise DataError(f"{shards[-1].absolute()}: there is no such file, give the path of one")
    return _read(name, {"train": shards}, shards[0].parent / CLASSES, size)


def read_shard_folder(folder: Path, size: Size | None = None) -> ImageData:
    """Read ``train-*.tar`` and, if there, ``val-*.tar`` and ``test-*.tar``, as ``read_shards`` does.

    Raises:
        DataError: as ``read_shards``.
    """
    shards = {split: sorted(folder.glob(f"{name}-*.tar")) for name, split in SPLITS.items()}
    return _read(str(folder), {split: paths for split, paths in shards.items() if paths}, folder / CLASSES, size)


def _expand(name: str) -> Iterator[str]:
    """The names that a pattern with braces stands for."""
    try:
        from braceexpand import braceexpand

        yield from braceexpand(name)
    except ModuleNotFoundError as error:
        raise _library_missing(name) from error
    except ValueError as error:
        raise DataError(f"{name}: has a brace without its partner, write for instance train-{{0..3}}.tar") from error


def _read(origin: str, shards: Mapping[str, list[Path]], names: Path, size: Size | None) -> ImageData:
    try:
        sets = {split: _read_set(paths) for split, paths in shards.items()}
    except ModuleNotFoundError as error:
        raise _library_missing(origin) from error
    if names.is_file():
        classes = tuple(line.strip() for line in names.read_text("utf-8", "replace").splitlines() if line.strip())
    else:
        classes = tuple(str(label) for label in range(len(set(sets["train"].labels))))
    return decode(origin, classes, sets, size)


def _read_set(shards: Iterable[Path]) -> EncodedSet:
    encoded = EncodedSet([], [])
    for shard in shards:
        for sample in _samples(shard):
            origin = f"{shard}: {sample['__key__']}"
            images = [suffix for suffix in IMAGES if suffix in sample]
            if len(images) != 1:
                raise DataError(f"{origin}: has {len(images)} images (.{', .'.join(IMAGES)}), a sample needs one")
            encoded.images.append(EncodedImage(f"{origin}.{images[0]}", sample[images[0]]))
            encoded.labels.append(_label(sample, origin))
    return encoded


def _samples(shard: Path) -> Iterator[dict[str, Any]]:
    """The samples of one shard; the file is opened here because the library would run a ``pipe:`` command."""
    from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        with shard.open("rb") as stream:
            yield from group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{shard}: is damaged, has a file twice, or is not a tar file, write it again") from error


def _label(sample: Mapping[str, bytes], origin: str) -> int:
    if LABEL not in sample:
        raise DataError(f"{origin}: has no .{LABEL} file, add one with the number of the class")
    if not re.fullmatch(rb"\s*-?[0-9]{1,9}\s*", sample[LABEL]):
        raise DataError(f"{origin}.{LABEL}: is {sample[LABEL][:20]!r}, write the number of the class, from 0")
    return int(sample[LABEL])


def _library_missing(origin: str) -> DataError:
    return DataError(f"{origin}: needs the library webdataset, pip install 'nasmyth[webdataset]'")
