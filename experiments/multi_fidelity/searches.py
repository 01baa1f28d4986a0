"""Searches of a trained supernet whose evaluations are timed and counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.evaluation import Evaluator
from nas.search.fidelity import STOPPED, Bar, Hits, Race, Score
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

    def __call__(self, architecture: Architecture, bar: Bar) -> Score:
        """As `Evaluator.race`."""
        seen: list[Hits] = []

        def counted() -> Iterator[Hits]:
            for batch in self.evaluator.hits(network, architecture):
                seen.append(batch)
                yield batch

        start = time.process_time()
        network = self.evaluator.network(architecture)
        middle = time.process_time()
        score = self.race.run(counted(), len(self.evaluator.task.validation), bar)
        self.recalibration.append(middle - start)
        self.validation.append(time.process_time() - middle)
        self.hits.append(np.concatenate(seen))
        return score


@dataclass(frozen=True, eq=False)
class Found:
    """A finished search.

    Attributes:
        accuracies: of all networks in the order of their trials, shape (n,).
        costs: MACs in millions, shape (n,).
        complete: which networks saw all images, shape (n,).
        timed: how they were evaluated.
    """

    accuracies: NDArray[np.float64]
    costs: NDArray[np.float64]
    complete: NDArray[np.bool_]
    timed: Timed

    def figures(self) -> dict[str, Any]:
        """For the table: shares of images, processor seconds and networks."""
        total = len(self.timed.evaluator.task.validation)
        return {
            "networks": len(self.costs),
            "stopped": int((~self.complete).sum()),
            "images": float(np.mean([len(hits) for hits in self.timed.hits])) / total,
            "recalibration": sum(self.timed.recalibration),
            "validation": sum(self.timed.validation),
        }

    def hypervolume(self, ends: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
        """Of the networks that saw all images, as a share of the box between the two ends (error, cost)."""
        points = np.stack([1 - self.accuracies, self.costs], axis=1)[self.complete]
        best, worst = ends
        return hypervolume((points - best) / (worst - best), np.ones(2))


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
        Worker(study, space, objectives, metrics, limits, evaluator.evaluate, store, race=timed).run(budget)
        found = evaluations(study)
        trials = study.get_trials(deepcopy=False)
    return Found(
        np.array([evaluation.metrics[ACCURACY.name] for evaluation in found]),
        np.array([evaluation.metrics[COST] for evaluation in found]),
        np.array([STOPPED not in trial.user_attrs for trial in trials]),
        timed,
    )


def evaluated(evaluator: Evaluator, networks: list[Architecture]) -> Found:
    """Networks that no search chose, on all images."""
    timed = Timed(evaluator, replace(Race(), rungs=()))
    accuracies = [timed(network, Bar()).accuracy for network in networks]
    space = evaluator.supernet.space
    costs = space.macs(space.codes(networks)) / 1e6
    return Found(np.array(accuracies), costs, np.ones(len(networks), dtype=np.bool_), timed)
