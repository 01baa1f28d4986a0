"""From the name of a source to its images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.tasks.cifar import is_cifar_folder, read_cifar
from nas.tasks.encoded import Size
from nas.tasks.hugging_face import PREFIXES, read_hugging_face
from nas.tasks.idx import is_idx_folder, read_idx
from nas.tasks.image_data import ImageData, image_set
from nas.tasks.image_folder import read_folder
from nas.tasks.npz import read_npz
from nas.tasks.task import DataError
from nas.tasks.webdataset import is_shard_folder, is_shards, read_shard_folder, read_shards


@dataclass(frozen=True)
class Source:
    """What a user named."""

    name: str
    base: Path
    """Where a relative path starts."""

    @property
    def path(self) -> Path:
        """The name as a path."""
        return self.base / Path(self.name).expanduser()


@dataclass(frozen=True)
class Reader:
    """One kind of source."""

    kind: str
    """What a user can give, for messages."""
    recognises: Callable[[Source], bool]
    read: Callable[[Source, Size | None], ImageData]
    scales: bool = False
    """Whether images are brought to a size while they are read."""


def read_digits() -> ImageData:
    """The 1,797 handwritten digits that scikit-learn brings along: 8x8, one channel, ten classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ImageData(
        "digits", tuple(str(name) for name in digits.target_names), image_set(images, digits.target, "digits")
    )


READERS = (
    Reader("digits", lambda source: source.name == "digits", lambda source, size: read_digits()),
    Reader(
        "hf:NAME",
        lambda source: source.name.startswith(PREFIXES),
        lambda source, size: read_hugging_face(source.name, source.base, size),
        scales=True,
    ),
    Reader(
        "a .npz file",
        lambda source: source.path.suffix.lower() == ".npz" and source.path.is_file(),
        lambda source, size: read_npz(source.path),
    ),
    Reader(
        ".tar shards",
        lambda source: is_shards(source.name),
        lambda source, size: read_shards(source.name, source.base, size),
        scales=True,
    ),
    Reader(
        "a folder of .tar shards",
        lambda source: is_shard_folder(source.path),
        lambda source, size: read_shard_folder(source.path, size),
        scales=True,
    ),
    Reader(
        "a folder of IDX files",
        lambda source: is_idx_folder(source.path),
        lambda source, size: read_idx(source.path),
    ),
    Reader(
        "a folder of CIFAR batches",
        lambda source: is_cifar_folder(source.path),
        lambda source, size: read_cifar(source.path),
    ),
    Reader(
        "a folder with a folder for each class",
        lambda source: source.path.is_dir(),
        lambda source, size: read_folder(source.path, size),
        scales=True,
    ),
)
"""The first that recognises a source reads it."""


def load_images(source: str, *, size: int | tuple[int, int] | None = None, base: Path | None = None) -> ImageData:
    """Load the images that ``source`` names into memory.

    Args:
        source: ``digits``; ``hf:NAME`` for a data set of the Hugging Face Hub; or the path of an ``.npz`` file, of
            WebDataset shards (``train-{000..003}.tar`` or their folder), of a folder of IDX files (MNIST) or of CIFAR
            batches, or of a folder with a folder for each class.
        size: for image files that are scaled while they are read (folders of classes, ``hf:``, shards), their side or
            (height, width) in pixels; without it they must have one size.
        base: where a relative path starts; by default the current directory.

    Raises:
        DataError: there is no such source, it cannot be read, or it cannot be brought to ``size``.
    """
    asked = Source(source, base or Path())
    scaled = None if size is None else _height_and_width(size)
    reader = next((reader for reader in READERS if reader.recognises(asked)), None)
    if reader is None:
        raise DataError(
            f"{source}: there is no such source of images at {asked.path.absolute()}, "
            f"give {', '.join(each.kind for each in READERS[:-1])} or {READERS[-1].kind}"
        )
    if size is not None and not reader.scales:
        raise DataError(
            f"{source}: size is for {', '.join(each.kind for each in READERS if each.scales)}, leave it out"
        )
    return reader.read(asked, scaled)


def _height_and_width(size: int | tuple[int, int]) -> Size:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise DataError(f"size is {size}, give pixels above 0")
    return height, width
