"""Images that are still PNG, JPEG and the like, as files or bytes: from there to one tensor a split."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nas.tasks.image_data import ImageData, ImageSet, image_set
from nas.tasks.task import DataError

Size = tuple[int, int]
_GREY_MODES = frozenset({"1", "L", "LA"})
_DEEP_MODES = ("I", "F")  # 16 bits and more, which Pillow would clip to 8
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError)


@dataclass(frozen=True)
class EncodedImage:
    """One image as a file, or as the bytes of a file."""

    origin: str
    """A path or the place in a data set, for messages."""
    content: Path | bytes

    def open(self) -> Image.Image:
        """The image with its header read; its pixels are read later."""
        return Image.open(BytesIO(self.content) if isinstance(self.content, bytes) else self.content)


@dataclass(frozen=True)
class EncodedSet:
    """The images of one split and the numbers of their classes."""

    images: list[EncodedImage]
    labels: list[int]


@dataclass(frozen=True)
class _Form:
    """What every image becomes."""

    mode: str
    size: Size
    """Height and width."""
    given_by: EncodedImage | None
    """The image whose size all must have; None when all are scaled."""


def decode(origin: str, classes: tuple[str, ...], splits: Mapping[str, EncodedSet], size: Size | None) -> ImageData:
    """Decode the sets ``train`` and, if there, ``validation`` and ``test``.

    When only one of ``validation`` and ``test`` is there, it is the test set. Images become RGB, or grey when all are
    grey, and are turned upright. With ``size`` (height, width) each is scaled and cropped at the centre; without it they
    must have one size.

    Raises:
        DataError: a split is empty, an image cannot be read, sizes differ, or labels and classes do not fit.
    """
    for split, part in splits.items():
        if not part.images:
            raise DataError(f"{origin}: {split} holds no images, add some or remove it")
    mode = "L" if {_mode(image) for part in splits.values() for image in part.images} <= _GREY_MODES else "RGB"
    first = splits["train"].images[0]
    form = _Form(mode, size, None) if size else _Form(mode, _size(first), first)
    sets = {split: _decode_set(part, form, f"{origin}: {split}") for split, part in splits.items()}
    if "test" not in sets and "validation" in sets:
        sets["test"] = sets.pop("validation")
    return ImageData(origin, classes, sets["train"], validation=sets.get("validation"), test=sets.get("test"))


def _mode(image: EncodedImage) -> str:
    """The pixel format, from the header alone."""
    try:
        with image.open() as opened:
            mode = opened.mode
    except _DAMAGED as error:
        raise _damaged(image) from error
    if mode.startswith(_DEEP_MODES):
        raise DataError(f"{image.origin}: has more than 8 bits a channel, convert it to 8 bits")
    return mode


def _size(image: EncodedImage) -> Size:
    """Height and width as the image is seen."""
    try:
        with image.open() as opened:
            upright = ImageOps.exif_transpose(opened)
            return upright.height, upright.width
    except _DAMAGED as error:
        raise _damaged(image) from error


def _decode_set(encoded: EncodedSet, form: _Form, origin: str) -> ImageSet:
    channels = () if form.mode == "L" else (3,)
    images = np.empty((len(encoded.images), *form.size, *channels), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for row, pixels in enumerate(pool.map(lambda image: _pixels(image, form), encoded.images)):
            images[row] = pixels
    return image_set(images, np.array(encoded.labels), origin)


def _pixels(image: EncodedImage, form: _Form) -> np.ndarray[Any, Any]:
    try:
        with image.open() as opened:
            if form.given_by is None:  # large JPEGs are decoded at a part of their size
                opened.draft(None, (2 * max(form.size), 2 * max(form.size)))
            upright = ImageOps.exif_transpose(opened).convert(form.mode)
            if form.given_by is None:
                upright = ImageOps.fit(upright, (form.size[1], form.size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(upright)
    except _DAMAGED as error:
        raise _damaged(image) from error
    if form.given_by is not None and pixels.shape[:2] != form.size:
        raise DataError(
            f"{image.origin}: is {pixels.shape[0]} pixels high and {pixels.shape[1]} wide but {form.given_by.origin} "
            f"is {form.size[0]} high and {form.size[1]} wide, give the size to scale them to"
        )
    return pixels


def _damaged(image: EncodedImage) -> DataError:
    return DataError(f"{image.origin}: is not an image that can be read, replace or remove it")
