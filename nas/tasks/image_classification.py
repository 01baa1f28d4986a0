"""Image classification with all images in memory."""

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nas.tasks.augment import Augmentation
from nas.tasks.datasets import read_datasets
from nas.tasks.image_data import ImageData, ImageSet, set_aside
from nas.tasks.sources import load_images
from nas.tasks.task import Batches, DataError, Split, Task

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.15


class ImageClassification(Task):
    """Images with one class each.

    Images stay uint8 in memory; every batch is float32 (n, channels, height, width), normalised with the mean and
    standard deviation of the training images, with int64 targets (n,).

    Args:
        data: the images. A test set that it lacks is a fifth of its training images, chosen with ``seed``.
        validation: share of the (remaining) training images set aside for validation; has no effect when the data
            brings its own validation set.
        seed: decides which images are set aside.
        augmentation: the changes to training images; by default ``Augmentation.default``.
        label_smoothing: share of the target spread over all classes, 0 to 1.

    Raises:
        DataError: a number is out of range, or there are too few images.
    """

    metric = "accuracy"

    def __init__(
        self,
        data: ImageData,
        *,
        validation: float = VALIDATION_SHARE,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if not 0 <= label_smoothing <= 1:
            raise DataError(f"label_smoothing is {label_smoothing}, give a number from 0 to 1")
        train, test, held_out = data.train, data.test, data.validation
        if test is None:
            train, test = set_aside(train, TEST_SHARE, seed, "testing", data.origin)
        if held_out is None:
            train, held_out = set_aside(train, validation, seed, "validation", data.origin)
        self.train, self.validation, self.test = train, held_out, test
        self.classes = data.classes
        self.in_channels: int = train.images.shape[1]
        self.image_size: tuple[int, int] = (train.images.shape[2], train.images.shape[3])
        self.mean, self.std = _mean_and_std(train.images)
        self.label_smoothing = label_smoothing
        self.augmentation = augmentation or Augmentation.default(self.in_channels, self.image_size)
        self.augmentation.check(self.image_size)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        size: int | tuple[int, int] | None = None,
        validation: float = VALIDATION_SHARE,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        base: Path | None = None,
        label_smoothing: float = 0.0,
    ) -> "ImageClassification":
        """The task of a named source, see ``sources.load_images``; the other arguments are those of the class.

        Raises:
            DataError: the source or an argument cannot be used.
        """
        data = load_images(source, size=size, base=base)
        return cls(data, validation=validation, seed=seed, augmentation=augmentation, label_smoothing=label_smoothing)

    @classmethod
    def from_datasets(
        cls,
        train: Dataset[Any],
        test: Dataset[Any] | None = None,
        classes: tuple[str, ...] | None = None,
        *,
        validation: float = VALIDATION_SHARE,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        label_smoothing: float = 0.0,
    ) -> "ImageClassification":
        """The task of torch datasets, see ``datasets.read_datasets``; the other arguments are those of the class.

        Raises:
            DataError: an item or an argument cannot be used.
        """
        data = read_datasets(train, test, classes)
        return cls(data, validation=validation, seed=seed, augmentation=augmentation, label_smoothing=label_smoothing)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the classes and of all images and labels, split for split; 16 hexadecimal digits."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(repr(tuple(part.images.shape)).encode())
            digest.update(part.images.numpy().data)
            digest.update(part.labels.numpy().data)
        return digest.hexdigest()[:16]

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches that ``train_batches`` gives: only full ones, but at least one."""
        _check_positive("batch_size", batch_size)
        return max(1, len(self.train) // batch_size)

    def train_batches(self, batch_size: int, generator: torch.Generator) -> Batches:
        """One epoch of augmented images in random order; a last batch that is not full is left out."""
        steps = self.steps_per_epoch(batch_size)
        order = torch.randperm(len(self.train), generator=generator)
        for rows in torch.split(order, batch_size)[:steps]:
            yield self._augmented(rows, generator)

    def batches(self, split: Split, batch_size: int, limit: int | None = None) -> Batches:
        """The images of a split in their stored order, not augmented; with ``limit``, a fixed random subset of them."""
        _check_positive("batch_size", batch_size)
        images = self._split(split)
        rows = torch.arange(len(images))
        if limit is not None:
            _check_positive("limit", limit)
            rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:limit].sort().values
        for some in torch.split(rows, batch_size):
            yield self._normalised(images.images[some]), images.labels[some]

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Augmented training images, the same ones on every call with the same seed, in batches of nearly equal size.

        Args:
            images: how many; all of them when there are fewer.
            batch_size: the largest batch.
            seed: decides which images, and how they are changed.
        """
        _check_positive("images", images)
        _check_positive("batch_size", batch_size)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.train), generator=generator)[:images]
        for rows in order.tensor_split(math.ceil(len(order) / batch_size)):
            yield self._augmented(rows, generator)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean cross entropy of logits (n, classes) with smoothed targets (n,)."""
        return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)

    def correct(self, logits: Tensor, target: Tensor) -> int:
        """For how many rows of the logits (n, classes) the largest is that of the target (n,)."""
        return int((logits.argmax(1) == target).sum())

    def _split(self, split: Split) -> ImageSet:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if split not in splits:
            raise DataError(f"there is no split {split!r}, give one of {', '.join(splits)}")
        return splits[split]

    def _augmented(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self.augmentation(self.train.images[rows], generator)
        return self._normalised(images), self.train.labels[rows]

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (255 * torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return images.float().sub_(mean).div_(std)


def _mean_and_std(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, for values from 0 to 1; a constant channel counts as if it varied by one grey level."""
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
    at_once = max(1, 2**22 // images[0].numel())  # bounds the memory of the copies
    for some in torch.split(images, at_once):
        values = some.double() / 255
        sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    mean, square = sums / (images.numel() / images.shape[1])
    std = (square - mean.square()).clamp(min=1 / 255**2).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise DataError(f"{name} is {value}, give 1 or more")
