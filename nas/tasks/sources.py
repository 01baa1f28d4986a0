"""From the name of a source to its images."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nas.tasks.image_data import ImageData, image_set
from nas.tasks.image_folder import read_folder
from nas.tasks.npz import read_npz
from nas.tasks.task import DataError


def read_digits() -> ImageData:
    """The 1,797 handwritten digits that scikit-learn brings along: 8x8, one channel, ten classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ImageData(
        "digits", tuple(str(name) for name in digits.target_names), image_set(images, digits.target, "digits")
    )


EMBEDDED: Mapping[str, Callable[[], ImageData]] = MappingProxyType({"digits": read_digits})
FILES: Mapping[str, Callable[[Path], ImageData]] = MappingProxyType({".npz": read_npz})


def load_images(source: str, *, size: int | tuple[int, int] | None = None, base: Path | None = None) -> ImageData:
    """Load the images that ``source`` names: an embedded set, a file or a folder.

    Args:
        source: ``digits``, the path of an ``.npz`` file, or the path of a folder with a folder for each class.
        size: for a folder of images, their side or (height, width) in pixels; by default that of the first image.
        base: where a relative path starts; by default the current directory.

    Raises:
        DataError: there is no such source, it cannot be read, or it cannot be brought to ``size``.
    """
    path = (base or Path()) / Path(source).expanduser()
    if source not in EMBEDDED and path.is_dir():
        return read_folder(path, None if size is None else _height_and_width(size))
    if size is not None:
        raise DataError(f"{source}: size is for folders of images, leave it out")
    if source in EMBEDDED:
        return EMBEDDED[source]()
    if path.suffix.lower() in FILES and path.is_file():
        return FILES[path.suffix.lower()](path)
    raise DataError(
        f"{source}: there is no such source of images at {path.absolute()}, "
        f"give {', '.join(EMBEDDED)}, a {', '.join(FILES)} file or a folder with a folder for each class"
    )


def _height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise DataError(f"size is {size}, give pixels above 0")
    return height, width
