"""Images from a torch Dataset."""

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nas.tasks.image_data import ImageData, ImageSet, image_set
from nas.tasks.task import DataError


def read_datasets(
    train: Dataset[Any],
    test: Dataset[Any] | None = None,
    classes: tuple[str, ...] | None = None,
) -> ImageData:
    """Read (image, label) items into memory.

    An image is a tensor (channels, height, width), a NumPy array (height, width[, channels]), or a Pillow image, in
    grey or RGB; tensors and arrays are uint8, or floats from 0 to 1. A label counts from 0. Without ``classes``, their
    names are the numbers.

    Raises:
        DataError: an item is something else, or the images differ in shape.
    """
    train_set = _read(train, "train dataset")
    names = classes or tuple(str(label) for label in range(len(set(train_set.labels.tolist()))))
    return ImageData("datasets", names, train_set, test=None if test is None else _read(test, "test dataset"))


def _read(dataset: Dataset[Any], origin: str) -> ImageSet:
    if not hasattr(dataset, "__len__"):
        raise DataError(f"{origin}: has no length, give a map-style Dataset")
    if not len(dataset):
        raise DataError(f"{origin}: is empty, give one with images")
    labels = np.empty(len(dataset), dtype=np.int64)
    images = np.empty(0, dtype=np.uint8)
    for row in range(len(dataset)):
        where = f"{origin}, item {row}"
        item = dataset[row]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise DataError(f"{where}: is not a pair (image, label), give pairs")
        pixels = _pixels(item[0], where)
        if row == 0:
            images = np.empty((len(dataset), *pixels.shape), dtype=np.uint8)
        if pixels.shape != images.shape[1:]:
            raise DataError(f"{where}: has shape {pixels.shape}, the first image {images.shape[1:]}, make them equal")
        images[row], labels[row] = pixels, _label(item[1], where)
    return image_set(images, labels, origin)


def _label(label: Any, where: str) -> int:
    number = np.asarray(label)
    if number.dtype.kind not in "iu" or number.size != 1:
        raise DataError(f"{where}: the label is {label!r}, give one integer")
    return int(number.item())


def _pixels(image: Any, where: str) -> np.ndarray[Any, Any]:
    """The image as uint8 (height, width, channels)."""
    if isinstance(image, Tensor) and image.ndim == 3:
        array = image.detach().cpu().movedim(0, 2).numpy()
    elif isinstance(image, Image.Image) and image.mode in ("L", "RGB"):
        array = np.asarray(image)
    elif isinstance(image, np.ndarray) and image.ndim in (2, 3):
        array = image
    else:
        raise DataError(
            f"{where}: the image is {_describe(image)}, give a tensor (channels, height, width), an array "
            "(height, width, channels) or a Pillow image in mode L or RGB"
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f" or not ((array >= 0) & (array <= 1)).all():
        raise DataError(f"{where}: the image is {array.dtype} but not uint8 or floats from 0 to 1, do not normalise it")
    rounded: np.ndarray[Any, Any] = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    return rounded


def _describe(image: Any) -> str:
    if isinstance(image, Image.Image):
        return f"a Pillow image in mode {image.mode}"
    shape = f" of shape {tuple(image.shape)}" if isinstance(image, (Tensor, np.ndarray)) else ""
    return f"a {type(image).__name__}{shape}"
