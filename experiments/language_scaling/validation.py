"""How well losses of networks that were held out are foretold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from experiments.language_scaling.law import Predictor
from experiments.language_scaling.shapes import Floats, Trainings


@dataclass(frozen=True)
class Held:
    """Figures over repetitions of k-fold cross-validation.

    Attributes:
        r2: of each repetition, shape (repeats,): 1 - squared error / squared distance to the mean of all losses.
        tau: Kendall's, of each repetition, shape (repeats,).
        deviation: root of the mean squared error over all repetitions.
    """

    r2: Floats
    tau: Floats
    deviation: float


def held_out(predictor: Predictor, table: Trainings, folds: int = 5, repeats: int = 10, seed: int = 0) -> Held:
    """Repeated k-fold cross-validation; all trainings of a network are in the same fold.

    Args:
        predictor: that is judged.
        table: of trainings.
        folds: k, at most the number of networks.
        repeats: with other folds each.
        seed: of the folds.

    Raises:
        ValueError: when there are fewer networks than folds, or the losses are all the same.
    """
    networks = table.networks
    count, spread = int(networks.max()) + 1, float(((table.loss - table.loss.mean()) ** 2).mean())
    if not 2 <= folds <= count:
        raise ValueError(f"{count} networks cannot be cut into {folds} folds")
    if spread == 0:
        raise ValueError("all losses are the same")
    rng, found = np.random.default_rng(seed), []
    for _ in range(repeats):
        fold = (rng.permutation(count) % folds)[networks]
        predicted = np.empty(len(table))
        for number in range(folds):
            held = np.flatnonzero(fold == number)
            predicted[held] = predictor(table.take(np.flatnonzero(fold != number)), table.take(held))
        found.append(predicted)
    errors = np.array([((predicted - table.loss) ** 2).mean() for predicted in found])
    tau = np.array([kendalltau(predicted, table.loss).statistic for predicted in found])
    return Held(1 - errors / spread, tau, float(np.sqrt(errors.mean())))
