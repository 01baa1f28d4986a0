"""The rule of early stopping replayed on networks of which it is known which images they classify correctly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.search.fidelity import STOPPED, Bar, Hits, Race
from nas.search.pareto import hypervolume

#: Images between two looks: the evaluator's batch size.
BATCH = 32


@dataclass(frozen=True)
class Replayed:
    """What the rule would have done.

    Attributes:
        images: share of all images that were evaluated.
        stopped: share of the networks.
        entering: networks that enter the front of those before them, on all images.
        wronged: how many of these were stopped.
        hypervolume: of the networks that saw all images, as a share of that of all networks.
    """

    images: float
    stopped: float
    entering: int
    wronged: int
    hypervolume: float


def as_if(hits: Hits, images: int) -> Hits:
    """The networks on another number of images: on the first ones, or on so many copies of all."""
    return np.tile(hits, (1, -(-images // hits.shape[1])))[:, :images]


def replay(hits: Hits, costs: NDArray[np.float64], race: Race, rng: np.random.Generator) -> Replayed:
    """Evaluate networks in their order, the images in a random one.

    Args:
        hits: which images each network classifies correctly, shape (networks, images).
        costs: what is minimised beside the error, shape (networks,).
        race: decides how far each is evaluated.
        rng: draws the order of the images.
    """
    total = hits.shape[1]
    hits = hits[:, rng.permutation(total)]
    accuracies = hits.mean(axis=1)
    complete = np.zeros(len(hits), dtype=np.bool_)
    seen, entering, wronged = 0, 0, 0
    for row, own in enumerate(hits):
        bar = _bar(hits, accuracies, complete & (costs <= costs[row]))
        score = race.run((own[start : start + BATCH] for start in range(0, total, BATCH)), total, bar)
        stopped = score.attributes.get(STOPPED)
        complete[row] = stopped is None
        seen += total if stopped is None else stopped["images"]
        enters = bar.rival is None or bool(accuracies[row] > bar.accuracy)
        entering += enters
        wronged += enters and stopped is not None
    points = np.stack([1 - accuracies, costs], axis=1)
    worst = points.max(axis=0)
    share = hypervolume(points[complete], worst) / hypervolume(points, worst)
    return Replayed(seen / hits.size, float((~complete).mean()), entering, wronged, share)


def _bar(hits: Hits, accuracies: NDArray[np.float64], rivals: NDArray[np.bool_]) -> Bar:
    if not rivals.any():
        return Bar()
    best = int(np.flatnonzero(rivals)[np.argmax(accuracies[rivals])])
    return Bar(float(accuracies[best]), best, hits[best])
