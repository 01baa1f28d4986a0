"""Images in memory: one split, the splits of a data set, and how a part is set aside."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.tasks.task import DataError


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: ``images`` uint8 (n, channels, height, width), ``labels`` int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "ImageSet":
        """The images at ``rows`` (int64), copied in that order."""
        return ImageSet(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class ImageData:
    """What a source holds. A split that it does not have is None and is taken from ``train`` later.

    Raises:
        DataError: the splits disagree in shape, or the labels do not fit the classes.
    """

    origin: str
    """A path or a name, for messages."""
    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet | None = None
    test: ImageSet | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"{self.origin}: has {len(self.classes)} class, classification needs at least 2")
        if len(set(self.classes)) < len(self.classes):
            raise DataError(f"{self.origin}: two classes have the same name, give each its own: {self.classes}")
        for name, part in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if part is not None:
                self._check_split(name, part)
        absent = sorted(set(range(len(self.classes))) - set(self.train.labels.tolist()))
        if absent:
            raise DataError(
                f"{self.origin}: class {self.classes[absent[0]]!r} has no training image, add some or drop the class"
            )

    def _check_split(self, name: str, part: ImageSet) -> None:
        shape, expected = tuple(part.images.shape[1:]), tuple(self.train.images.shape[1:])
        if shape != expected:
            raise DataError(
                f"{self.origin}: {name} images have (channels, height, width) {shape} but those of train {expected}, "
                "make them equal"
            )
        last = len(self.classes) - 1
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high > last:
            raise DataError(
                f"{self.origin}: {name} has the label {low if low < 0 else high}, "
                f"number the {last + 1} classes of train 0 to {last} without gaps"
            )


def image_set(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], origin: str) -> ImageSet:
    """An image set from arrays.

    Args:
        images: uint8, (n, height, width) or (n, height, width, channels).
        labels: integers, (n,).
        origin: what messages call the arrays.

    Raises:
        DataError: another type or shape, no image at all, or lengths that differ.
    """
    if images.dtype != np.uint8:
        raise DataError(f"{origin}: images are {images.dtype}, store them as uint8 with values 0 to 255")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"{origin}: images have shape {images.shape}, store (n, height, width) or (n, height, width, channels)"
        )
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3, 4):
        raise DataError(
            f"{origin}: images of shape {images.shape} seem to have channels first, store (n, height, width, channels)"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"{origin}: labels are {labels.dtype} of shape {labels.shape}, store integers of shape (n,)")
    if len(images) != len(labels):
        raise DataError(f"{origin}: {len(images)} images but {len(labels)} labels, store one label an image")
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(channels_first)), torch.from_numpy(labels.astype(np.int64, copy=False))
    )


def set_aside(whole: ImageSet, share: float, seed: int, purpose: str, origin: str) -> tuple[ImageSet, ImageSet]:
    """Split ``whole`` at random into (rest, part); ``part`` has the given share of every class.

    Raises:
        DataError: the share is not between 0 and 1, or there are too few images.
    """
    from sklearn.model_selection import train_test_split

    if not 0 < share < 1:
        raise DataError(f"{origin}: the share of images for {purpose} is {share}, give a number between 0 and 1")
    try:
        rest, part = train_test_split(
            np.arange(len(whole)), test_size=share, random_state=seed, stratify=whole.labels.numpy()
        )
    except ValueError as error:
        raise DataError(
            f"{origin}: {len(whole)} images of {len(set(whole.labels.tolist()))} classes are too few to set {share:.0%} aside for "
            f"{purpose}, add images until that share holds at least one of each class"
        ) from error
    return whole.subset(torch.from_numpy(rest)), whole.subset(torch.from_numpy(part))
