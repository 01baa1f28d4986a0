"""Searches of a trained supernet whose evaluations are timed and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.engines import LocalEvaluation
from nas.search.evaluation import Evaluator
from nas.search.fidelity import Bar, Hits, Race, Score
from nas.search.journal import JournalStore
from nas.search.limits import parse_all
from nas.search.metrics import ACCURACY, cheap_metrics, find
from nas.search.pareto import hypervolume
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.storage import create_or_load
from nas.search.worker import Worker, evaluations
from nas.tasks import ImageClassification
from nas.tasks.image_data import ImageData
from search_spaces import Architecture

COST = "macs_m"
LIMIT = f"{COST} <= 50 %"


def with_test_images(task: ImageClassification) -> ImageClassification:
    """The task with validation and test images exchanged: the same networks, judged on more images."""
    data = ImageData("exchanged", task.classes, task.train, validation=task.test, test=task.validation)
    return ImageClassification(data, augmentation=task.augmentation, mean=task.mean, std=task.std)


@dataclass
class Timed:
    """Evaluates networks, and keeps what that took.

    Attributes:
        evaluator: of the supernet.
        race: decides how far each is evaluated.
        hits: which images each network classified correctly, as far as it was evaluated.
        recalibration: processor seconds of each network.
        validation: processor seconds of each network.
    """

    evaluator: Evaluator
    race: Race
    hits: list[Hits] = field(default_factory=list)
    recalibration: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    def __call__(self, architecture: Architecture, bar: Bar | None) -> Score:
        """As `Evaluator.race`."""
        seen: list[Hits] = []

        def counted() -> Iterator[Hits]:
            for batch in self.evaluator.hits(network, architecture):
                seen.append(batch)
                yield batch

        start = time.process_time()
        network = self.evaluator.network(architecture)
        middle = time.process_time()
        score = self.race.run(counted(), len(self.evaluator.task.validation), bar or Bar())
        self.recalibration.append(middle - start)
        self.validation.append(time.process_time() - middle)
        self.hits.append(np.concatenate(seen))
        return score


@dataclass(frozen=True, eq=False)
class Found:
    """Evaluated networks.

    Attributes:
        accuracies: in the order of their trials, shape (n,).
        costs: MACs in millions, shape (n,).
        seen: images that each was evaluated on, shape (n,).
        recalibration: processor seconds of each, shape (n,).
        validation: processor seconds of each, shape (n,).
        hits: which images each classified correctly; those that it did not see count as wrong; shape (n, images).
    """

    accuracies: NDArray[np.float64]
    costs: NDArray[np.float64]
    seen: NDArray[np.int64]
    recalibration: NDArray[np.float64]
    validation: NDArray[np.float64]
    hits: Hits

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Which networks saw all images, shape (n,)."""
        return np.asarray(self.seen == self.hits.shape[1])

    @property
    def points(self) -> NDArray[np.float64]:
        """Error and cost of those networks."""
        return np.stack([1 - self.accuracies, self.costs], axis=1)[self.complete]

    def figures(self) -> dict[str, Any]:
        """For the table: share of images, processor seconds and networks."""
        return {
            "networks": len(self.costs),
            "stopped": int((~self.complete).sum()),
            "images": float(self.seen.mean()) / self.hits.shape[1],
            "recalibration": float(self.recalibration.sum()),
            "validation": float(self.validation.sum()),
        }

    def hypervolume(self, ends: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
        """Of the networks that saw all images, as a share of the box between the two ends (error, cost)."""
        best, worst = ends
        return hypervolume((self.points - best) / (worst - best), np.ones(2))

    @classmethod
    def of(cls, accuracies: list[float], costs: list[float], timed: Timed) -> Found:
        """What was evaluated by `timed`."""
        total = len(timed.evaluator.task.validation)
        return cls(
            np.array(accuracies),
            np.array(costs),
            np.array([len(hits) for hits in timed.hits]),
            np.array(timed.recalibration),
            np.array(timed.validation),
            np.stack([np.pad(hits, (0, total - len(hits))) for hits in timed.hits]),
        )

    @classmethod
    def kept(cls, path: Path, make: Callable[[], Found]) -> Found:
        """What is in a file, which is made when it is not there."""
        if not path.exists():
            temporary = path.with_suffix(".part.npz")
            np.savez_compressed(temporary, **vars(make()))
            temporary.rename(path)
        with np.load(path) as stored:
            return cls(**stored)


def search(evaluator: Evaluator, race: Race, budget: int, seed: int, sampler: str) -> Found:
    """Search for accurate networks with few MACs, as `nas search` does.

    Args:
        evaluator: of the supernet.
        race: decides how far each network is evaluated.
        budget: networks.
        seed: of the sampler.
        sampler: its name.
    """
    space = evaluator.supernet.space
    metrics = [ACCURACY, *cheap_metrics(space, {})]
    objectives = [ACCURACY, find(COST, metrics)]
    limits = parse_all([LIMIT], metrics, space)
    proposals = make_sampler(sampler, {}, Problem.of(space, objectives, metrics, limits), seed)
    timed = Timed(evaluator, race)
    with TemporaryDirectory() as folder:
        store = JournalStore(Path(folder) / "study.journal")
        study = create_or_load(store, "study", objectives, {"seed": seed}, proposals)
        engine = LocalEvaluation(timed)
        Worker(study, space, objectives, metrics, limits, engine, store, racing=True).run(budget)
        found = evaluations(study)
    return Found.of(
        [evaluation.metrics[ACCURACY.name] for evaluation in found],
        [evaluation.metrics[COST] for evaluation in found],
        timed,
    )


def evaluated(evaluator: Evaluator, networks: list[Architecture]) -> Found:
    """Networks that no search chose, on all images."""
    timed = Timed(evaluator, Race(rungs=()))
    accuracies = [timed(network, Bar()).accuracy for network in networks]
    space = evaluator.supernet.space
    return Found.of(accuracies, (space.macs(space.codes(networks)) / 1e6).tolist(), timed)
