"""Images from a folder that has a folder for every class."""

from pathlib import Path

from nas.tasks.encoded import EncodedImage, EncodedSet, Size, decode
from nas.tasks.image_data import ImageData
from nas.tasks.task import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read_folder(root: Path, size: Size | None = None) -> ImageData:
    """Read ``root/<class>/*`` or ``root/train/<class>/*`` with ``root/test`` and ``root/val`` beside it.

    The images become what ``encoded.decode`` says. Files that have no image suffix and hidden entries are passed over.

    Raises:
        DataError: the folders do not fit, an image cannot be read, or sizes differ and no ``size`` is given.
    """
    folders = _split_folders(root)
    classes = tuple(folder.name for folder in _folders(folders["train"]))
    if not classes:
        raise DataError(f"{folders['train']}: has no class folders, put the images of each class into a folder")
    return decode(str(root), classes, {split: _list(folder, classes) for split, folder in folders.items()}, size)


def _split_folders(root: Path) -> dict[str, Path]:
    present = {folder.name: folder for folder in _folders(root)}
    if "train" not in present:
        if {"test", "val"} & set(present):
            raise DataError(f"{root}: has a test or val folder but no train folder, add it")
        return {"train": root}
    if other := sorted(present.keys() - SPLITS.keys()):
        raise DataError(f"{present[other[0]]}: only test and val may stand beside train, rename or move it")
    return {SPLITS[name]: folder for name, folder in present.items()}


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list(split: Path, classes: tuple[str, ...]) -> EncodedSet:
    listed = EncodedSet([], [])
    for folder in _folders(split):
        if folder.name not in classes:
            raise DataError(f"{folder}: there is no training folder of that name, add one or remove this")
        if nested := _folders(folder):
            raise DataError(f"{nested[0]}: folders inside a class are not read, move its images up")
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not paths:
            raise DataError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))}), add some or remove it")
        listed.images.extend(EncodedImage(str(path), path) for path in paths)
        listed.labels.extend([classes.index(folder.name)] * len(paths))
    if not listed.images:
        raise DataError(f"{split}: has no class folders, put the images of each class into a folder")
    return listed
