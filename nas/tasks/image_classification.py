"""Image classification with all images in memory."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nas.tasks.augment import Augmentation
from nas.tasks.datasets import read_datasets
from nas.tasks.image_data import ImageData, ImageSet, set_aside
from nas.tasks.mixing import Mixing
from nas.tasks.normalisation import Normalisation
from nas.tasks.sources import load_images
from nas.tasks.task import Batches, DataError, Scores, Split, Task, TaskMetric

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.15

ClassWeights = Literal["none", "balanced"]


class TaskOptions(TypedDict, total=False):
    """The arguments of ``ImageClassification`` besides the images."""

    validation: float
    seed: int
    augmentation: Augmentation | None
    mixing: Mixing | None
    label_smoothing: float
    class_weights: ClassWeights
    mean: Sequence[float] | None
    std: Sequence[float] | None


class ImageClassification(Task):
    """Images with one class each.

    Images stay uint8 in memory; every batch is float32 (n, channels, height, width), normalised, with int64 targets
    (n,). Only training batches with ``mixing`` have float32 targets (n, classes), the shares of the classes.

    Args:
        data: the images. A test set that it lacks is a fifth of its training images, chosen with ``seed``.
        validation: share of the (remaining) training images set aside for validation; has no effect when the data
            brings its own validation set.
        seed: decides which images are set aside.
        augmentation: the changes to training images; by default ``Augmentation.default``.
        mixing: mixes the images of each training batch; by default none.
        label_smoothing: share of the target spread over all classes, 0 to 1.
        class_weights: how much each class counts in ``loss``: "none" is each image as much as the other, "balanced"
            each class as much as the other, with the weights n / (classes * count) of scikit-learn.
        mean: what is taken from each channel, for values from 0 to 1; by default the mean of the training images.
        std: what each channel is then divided by; by default the standard deviation of the training images.

    Raises:
        DataError: a number is out of range, or there are too few images.
    """

    metrics = (TaskMetric("accuracy", "maximize"),)

    def __init__(
        self,
        data: ImageData,
        *,
        validation: float = VALIDATION_SHARE,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        mixing: Mixing | None = None,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "none",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
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
        found_mean, found_std = _mean_and_std(train.images)
        self.mean = found_mean if mean is None else _per_channel("mean", mean, self.in_channels)
        self.std = found_std if std is None else _per_channel("std", std, self.in_channels)
        self.normalisation = Normalisation(self.mean, self.std)
        self.label_smoothing = label_smoothing
        self.class_weights = self._class_weights(class_weights)
        self.mixing = mixing or Mixing()
        self.augmentation = augmentation or Augmentation.default(self.in_channels, self.image_size)
        self.augmentation.check(self.image_size)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        size: int | tuple[int, int] | None = None,
        base: Path | None = None,
        **options: Unpack[TaskOptions],
    ) -> "ImageClassification":
        """The task of a named source, see ``sources.load_images``; the options are those of the class.

        Raises:
            DataError: the source or an option cannot be used.
        """
        return cls(load_images(source, size=size, base=base), **options)

    @classmethod
    def from_datasets(
        cls,
        train: Dataset[Any],
        test: Dataset[Any] | None = None,
        classes: tuple[str, ...] | None = None,
        **options: Unpack[TaskOptions],
    ) -> "ImageClassification":
        """The task of torch datasets, see ``datasets.read_datasets``; the options are those of the class.

        Raises:
            DataError: an item or an option cannot be used.
        """
        return cls(read_datasets(train, test, classes), **options)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the classes and of all images and labels, split for split; 16 hexadecimal digits."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(repr(tuple(part.images.shape)).encode())
            digest.update(part.images.numpy().data)
            digest.update(part.labels.numpy().data)
        return digest.hexdigest()[:16]

    @property
    def space_options(self) -> Mapping[str, int]:
        """The channels of the images and the number of classes."""
        return {"in_channels": self.in_channels, "classes": len(self.classes)}

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches that ``train_batches`` gives: only full ones, but at least one."""
        _check_positive("batch_size", batch_size)
        return max(1, len(self.train) // batch_size)

    def train_batches(self, batch_size: int, generator: torch.Generator) -> Batches:
        """One epoch of augmented and mixed images in random order; a last batch that is not full is left out."""
        steps = self.steps_per_epoch(batch_size)
        order = torch.randperm(len(self.train), generator=generator)
        for rows in torch.split(order, batch_size)[:steps]:
            images, labels = self._augmented(rows, generator)
            if self.mixing:
                shares = F.one_hot(labels, len(self.classes)).to(images.dtype)
                yield self.mixing(images, shares, generator)
            else:
                yield images, labels

    def batches(self, split: Split, batch_size: int, limit: int | None = None, shuffled: bool = False) -> Batches:
        """The images of a split in their stored order, not augmented.

        With ``limit``, a fixed random subset of them; ``shuffled``, in a fixed random order, so that the images of any
        number of batches are a fair sample.
        """
        _check_positive("batch_size", batch_size)
        images = self._split(split)
        if limit is not None:
            _check_positive("limit", limit)
        rows = image_order(len(images), limit, shuffled)
        for some in torch.split(rows, batch_size):
            yield self.normalisation(images.images[some]), images.labels[some]

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """Augmented training images, the same ones on every call with the same seed, in batches of nearly equal size.

        They are not mixed: a blend of two images varies less than an image, and the network is to be judged on images.

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
        """The mean cross entropy of logits (n, classes) with smoothed targets: int64 (n,) or float (n, classes).

        As in torch, the mean over class indices is divided by the sum of their class weights and the mean over shares
        by n; with balanced weights both are equal on average.
        """
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(logits, target, weight=weights, label_smoothing=self.label_smoothing)

    def evaluation_batches(self, metric: str, split: Split, batch_size: int, shuffled: bool = False) -> Batches:
        """The images of a split, as ``batches`` gives them."""
        self.check_metric(metric)
        return self.batches(split, batch_size, shuffled=shuffled)

    def evaluation_size(self, metric: str, split: Split) -> int:
        """How many images a split has."""
        self.check_metric(metric)
        return len(self._split(split))

    def score(self, metric: str, logits: Tensor, target: Tensor) -> Scores:
        """Which images are classified correctly, for the share of them."""
        self.check_metric(metric)
        found = self.hits(logits, target).double()
        return Scores(found, torch.ones_like(found))

    def hits(self, logits: Tensor, target: Tensor) -> Tensor:
        """For which rows of the logits (n, classes) the largest is that of the target (n,); bool (n,)."""
        return hits(logits, target)

    def correct(self, logits: Tensor, target: Tensor) -> int:
        """For how many rows of the logits (n, classes) the largest is that of the target (n,)."""
        return int(self.hits(logits, target).sum())

    def _split(self, split: Split) -> ImageSet:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if split not in splits:
            raise DataError(f"there is no split {split!r}, give one of {', '.join(splits)}")
        return splits[split]

    def _augmented(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self.augmentation(self.train.images[rows], generator)
        return self.normalisation(images), self.train.labels[rows]

    def _class_weights(self, kind: ClassWeights) -> Tensor | None:
        if kind not in get_args(ClassWeights):
            raise DataError(f"class_weights is {kind!r}, give one of {', '.join(get_args(ClassWeights))}")
        if kind == "none":
            return None
        counts = torch.bincount(self.train.labels, minlength=len(self.classes))
        if not counts.all():
            raise DataError(
                f"class_weights: no image of class {self.classes[int(counts.argmin())]!r} is left for training, "
                "give a smaller validation share"
            )
        return len(self.train) / (len(self.classes) * counts)


def hits(logits: Tensor, target: Tensor) -> Tensor:
    """For which rows of the logits (n, classes) the largest is that of the target (n,); bool (n,)."""
    return logits.argmax(1) == target


def image_order(count: int, limit: int | None = None, shuffled: bool = False) -> Tensor:
    """Numbers of images: all, or a fixed random subset; in their stored order, or in a fixed random one."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:limit]
    return order if shuffled else order.sort().values


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


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) != channels:
        raise DataError(f"{name} has {len(values)} values, the images have {channels} channels: give one for each")
    if not all(0 <= value <= 1 for value in values) or (name == "std" and 0 in values):
        above = "above 0" if name == "std" else "0"
        raise DataError(f"{name} is {list(values)}, give numbers from {above} to 1, as for pixel values from 0 to 1")
    return tuple(map(float, values))


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise DataError(f"{name} is {value}, give 1 or more")
