"""What evaluations of image classifiers need, on another machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.search.evaluation import Evaluator
from nas.search.shared_arrays import shared
from nas.tasks import ImageClassification, Split
from nas.tasks.image_classification import hits, image_order
from nas.tasks.image_data import ImageSet
from nas.tasks.normalisation import Normalisation
from nas.tasks.task import Batches, DataError
from search_spaces.supernet import Supernet


@dataclass(frozen=True)
class SentImages:
    """What evaluations need of a task for image classification.

    Attributes:
        recalibration: the batches of images that the evaluator drew, float32 (n, channels, height, width).
        validation: images and labels.
        normalisation: of the validation images.
    """

    recalibration: Sequence[Tensor]
    validation: ImageSet
    normalisation: Normalisation

    def batches(self, split: Split, batch_size: int, *, shuffled: bool = False) -> Batches:
        """The validation images in their stored order; `shuffled`, in the random one of `ImageClassification`.

        Raises:
            DataError: when another split is wanted.
        """
        if split != "validation":
            raise DataError(f"the {split} images were not sent")
        for rows in torch.split(image_order(len(self.validation), shuffled=shuffled), batch_size):
            yield self.normalisation(self.validation.images[rows]), self.validation.labels[rows]

    def recalibration_batches(self, images: int, batch_size: int, seed: int) -> Batches:
        """What was drawn: `images`, `batch_size` and `seed` had their effect then. There are no labels."""
        for batch in self.recalibration:
            yield batch, torch.zeros(0, dtype=torch.int64)

    def hits(self, logits: Tensor, target: Tensor) -> Tensor:
        """For which rows of the logits (n, classes) the largest is that of the target (n,); bool (n,)."""
        return hits(logits, target)


def parts(evaluator: Evaluator) -> dict[str, Any]:
    """The arguments of `judge`."""
    task = evaluator.task
    assert isinstance(task, ImageClassification), "others are refused before"
    return {
        "recalibration": [batch.numpy() for batch in evaluator.recalibration],
        "images": task.validation.images.numpy(),
        "labels": task.validation.labels.numpy(),
        "normalisation": {"mean": list(task.mean), "std": list(task.std)},
        "batch_size": evaluator.batch_size,
    }


def judge(
    supernet: Supernet,
    recalibration: Sequence[NDArray[np.float32]],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    normalisation: Mapping[str, Sequence[float]],
    batch_size: int,
) -> Evaluator:
    """The evaluator that was taken apart.

    Args:
        supernet: trained weights.
        recalibration: batches of images.
        images: of the validation split, (n, channels, height, width).
        labels: of those images.
        normalisation: mean and standard deviation of each channel.
        batch_size: of the validation.
    """
    drawn = [torch.tensor(batch) for batch in recalibration]  # copied: modules in training mode may write to them
    task = SentImages(drawn, ImageSet(shared(images), shared(labels)), Normalisation(**normalisation))
    return Evaluator(supernet, task, batch_size=batch_size)
