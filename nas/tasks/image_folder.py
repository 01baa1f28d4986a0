"""Images from a folder that has a folder for every class."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nas.tasks.image_data import ImageData, ImageSet, image_set
from nas.tasks.task import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_GREY_MODES = frozenset({"1", "L", "LA"})
_DEEP_MODES = ("I", "F")  # 16 bits and more, which Pillow would clip to 8
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError)


@dataclass(frozen=True)
class _Files:
    """The image files of one split with the number of their class."""

    paths: list[Path]
    labels: list[int]


def read_folder(root: Path, size: tuple[int, int] | None = None) -> ImageData:
    """Read ``root/<class>/*`` or ``root/train/<class>/*`` with ``root/test`` and ``root/val`` beside it.

    When only one of ``test`` and ``val`` is there, it is the test set. Images become RGB, or grey when all are grey;
    each is scaled and cropped at the centre to ``size`` (height, width), by default the size of the first one.
    Files that have no image suffix and hidden entries are passed over.

    Raises:
        DataError: the folders do not fit, or an image cannot be read.
    """
    folders = _split_folders(root)
    classes = tuple(folder.name for folder in _folders(folders["train"]))
    if not classes:
        raise DataError(f"{folders['train']}: has no class folders, put the images of each class into a folder")
    files = {split: _list_files(folder, classes) for split, folder in folders.items()}
    paths = [path for split in files.values() for path in split.paths]
    mode = "L" if {_mode(path) for path in paths} <= _GREY_MODES else "RGB"
    size = size or _size(paths[0])
    sets = {split: _read_set(listed, mode, size, str(folders[split])) for split, listed in files.items()}
    return ImageData(str(root), classes, sets["train"], validation=sets.get("validation"), test=sets.get("test"))


def _split_folders(root: Path) -> dict[str, Path]:
    present = {folder.name: folder for folder in _folders(root)}
    if "train" not in present:
        if {"test", "val"} & set(present):
            raise DataError(f"{root}: has a test or val folder but no train folder, add it")
        return {"train": root}
    other = sorted(set(present) - {"train", "test", "val"})
    if other:
        raise DataError(f"{present[other[0]]}: only test and val may stand beside train, rename or move it")
    if {"test", "val"} <= set(present):
        return {"train": present["train"], "validation": present["val"], "test": present["test"]}
    return {"train" if name == "train" else "test": folder for name, folder in present.items()}


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list_files(split: Path, classes: tuple[str, ...]) -> _Files:
    listed = _Files([], [])
    for folder in _folders(split):
        if folder.name not in classes:
            raise DataError(f"{folder}: there is no training folder of that name, add one or remove this")
        if nested := _folders(folder):
            raise DataError(f"{nested[0]}: folders inside a class are not read, move its images up")
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not paths:
            raise DataError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))}), add some or remove it")
        listed.paths.extend(paths)
        listed.labels.extend([classes.index(folder.name)] * len(paths))
    if not listed.paths:
        raise DataError(f"{split}: has no class folders, put the images of each class into a folder")
    return listed


def _mode(path: Path) -> str:
    """The pixel format, from the header alone."""
    try:
        with Image.open(path) as image:
            mode = image.mode
    except _DAMAGED as error:
        raise _damaged(path) from error
    if mode.startswith(_DEEP_MODES):
        raise DataError(f"{path}: has more than 8 bits a channel, convert it to 8 bits")
    return mode


def _size(path: Path) -> tuple[int, int]:
    """Height and width as the image is seen."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return upright.height, upright.width
    except _DAMAGED as error:
        raise _damaged(path) from error


def _read_set(files: _Files, mode: str, size: tuple[int, int], origin: str) -> ImageSet:
    channels = () if mode == "L" else (3,)
    images = np.empty((len(files.paths), *size, *channels), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for row, pixels in enumerate(pool.map(lambda path: _read(path, mode, size), files.paths)):
            images[row] = pixels
    return image_set(images, np.array(files.labels), origin)


def _read(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    height, width = size
    try:
        with Image.open(path) as image:
            image.draft(None, (2 * max(size), 2 * max(size)))  # large JPEGs are decoded at a part of their size
            upright = ImageOps.exif_transpose(image).convert(mode)
            return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR))
    except _DAMAGED as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: is not an image that can be read, replace or remove it")
