"""An evaluator taken apart into plain values and arrays, which need no common file system, and put together again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

import search_spaces
from nas.memory import keep_freed_memory
from nas.search.engines import Evaluate
from nas.search.evaluation import Evaluator
from nas.search.evaluators import NetworkEvaluator
from nas.search.fidelity import Race
from nas.search.ray_evaluation import RayEvaluation, Recipe
from nas.tasks import ImageClassification, Split
from nas.tasks.image_classification import hits, image_order
from nas.tasks.image_data import ImageSet
from nas.tasks.normalisation import Normalisation
from nas.tasks.task import Batches, DataError


@dataclass(frozen=True)
class SentTask:
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


def ray_evaluation(evaluator: NetworkEvaluator[Any], threads: int | None, race: Race | None) -> RayEvaluation:
    """Evaluations on a Ray cluster, each with as many CPUs as threads, by default 1; only of image classifiers."""
    assert isinstance(evaluator, Evaluator), "other tasks are refused before"
    cpus = threads or 1
    return RayEvaluation(Recipe(received, parts(evaluator, cpus, race)), cpus)


def parts(evaluator: Evaluator, threads: int, race: Race | None = None) -> dict[str, Any]:
    """The arguments of `received`."""
    task, space = evaluator.task, evaluator.supernet.space
    if not isinstance(task, ImageClassification):
        raise TypeError(f"evaluations of {type(task).__name__} cannot be sent")
    state = {name: tensor.contiguous() for name, tensor in evaluator.supernet.state_dict().items()}
    return {
        "release": version("nasmyth"),
        "space": {"name": space.name, "options": dict(space.options), "fingerprint": space.fingerprint},
        "weights": np.frombuffer(save(state), np.uint8),
        "recalibration": [batch.numpy() for batch in evaluator.recalibration],
        "images": task.validation.images.numpy(),
        "labels": task.validation.labels.numpy(),
        "normalisation": {"mean": list(task.mean), "std": list(task.std)},
        "batch_size": evaluator.batch_size,
        "threads": threads,
        "race": race,
    }


def received(
    release: str,
    space: Mapping[str, Any],
    weights: NDArray[np.uint8],
    recalibration: Sequence[NDArray[np.float32]],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    normalisation: Mapping[str, Sequence[float]],
    batch_size: int,
    threads: int,
    race: Race | None,
) -> Evaluate:
    """What evaluates networks as the evaluator did that was taken apart, in a process of another host.

    Args:
        release: of Nasmyth where it was sent.
        space: name, options and fingerprint.
        weights: safetensors of the supernet.
        recalibration: batches of images.
        images: of the validation split, (n, channels, height, width); may be read-only memory that processes share.
        labels: of those images.
        normalisation: mean and standard deviation of each channel.
        batch_size: of the validation.
        threads: of torch.
        race: how evaluations that are given a bar are raced.

    Raises:
        ValueError: when this process has another release, or does not know the space.
    """
    here = version("nasmyth")
    if here != release:
        raise ValueError(f"there is Nasmyth {here}, not {release}: install the same release on all machines")
    known = search_spaces.get(space["name"], **space["options"])
    if known.fingerprint != space["fingerprint"]:
        raise ValueError(f"search space {space['name']!r} is another one here: install the same on all machines")
    torch.set_num_threads(threads)
    keep_freed_memory()
    supernet = known.build_supernet()
    supernet.load_state_dict(load(weights.tobytes()))
    drawn = [torch.tensor(batch) for batch in recalibration]  # copied: modules in training mode may write to them
    task = SentTask(drawn, ImageSet(_shared(images), _shared(labels)), Normalisation(**normalisation))
    return partial(Evaluator(supernet, task, batch_size=batch_size).score, race=race)


def _shared(array: NDArray[Any]) -> Tensor:
    """A tensor on the memory of an array, which may be read-only: nobody writes to stored images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
