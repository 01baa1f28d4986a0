"""Which choices decide an objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces import Architecture, SearchSpace

Codes = NDArray[np.int64]

MINIMUM_EVALUATIONS = 20


class NotEnoughData(ValueError):
    """The evaluations cannot tell which choices matter; the message says why."""


@dataclass(frozen=True)
class ChoiceImportance:
    """How much one choice decides.

    Attributes:
        choice: its name.
        mean: half of the rise of the squared error when the values of the choice are shuffled, as a share of the
            variance. For a perfect model this is the part of the variance that depends on the choice, alone or
            together with others (the total Sobol index).
        deviation: of the mean between the forests.
    """

    choice: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Importance:
    """What a random forest learned of an objective.

    Attributes:
        choices: all choices, the most important first.
        explained: share of the variance that the forest predicts of networks that it was not fitted to (R squared);
            at most 1, and below 0 when the mean would have been a better prediction.
        evaluations: how many networks it knows.
    """

    choices: tuple[ChoiceImportance, ...]
    explained: float
    evaluations: int


def choice_importance(
    space: SearchSpace, architectures: list[Architecture], values: NDArray[np.float64], folds: int = 4, repeats: int = 4
) -> Importance:
    """Permutation importance of every choice, each measured on networks that the forest was not fitted to.

    Args:
        space: of the architectures.
        architectures: the evaluated networks.
        values: of one objective, shape (n,).
        folds: forests, each fitted without one part of the networks.
        repeats: shuffles of each choice, for each forest.

    Raises:
        NotEnoughData: when there are fewer than `MINIMUM_EVALUATIONS` networks, or all have the same value.
    """
    if len(architectures) < MINIMUM_EVALUATIONS:
        raise NotEnoughData(
            f"{len(architectures)} evaluations are too few to tell which choices matter; "
            f"it takes at least {MINIMUM_EVALUATIONS}."
        )
    if np.ptp(values) == 0:
        raise NotEnoughData("All evaluated networks have the same value, so no choice matters.")

    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    codes = space.codes(architectures)
    varied = np.flatnonzero(np.ptp(codes, axis=0) > 0)
    codes = codes[:, varied]
    variance = values.var()
    residuals = np.empty(len(values))
    losses = []
    rng = np.random.default_rng(0)
    for fitted, held in KFold(folds, shuffle=True, random_state=0).split(codes):
        forest = RandomForestRegressor(60, min_samples_leaf=2, random_state=0).fit(codes[fitted], values[fitted])
        residuals[held] = values[held] - forest.predict(codes[held])
        shuffled = values[held] - forest.predict(_shuffled(codes[held], repeats, rng)).reshape(-1, repeats, len(held))
        losses.append(((shuffled**2).mean(axis=(1, 2)) - (residuals[held] ** 2).mean()) / (2 * variance))
    means, deviations = np.zeros(len(space.choices)), np.zeros(len(space.choices))
    means[varied], deviations[varied] = np.mean(losses, axis=0), np.std(losses, axis=0, ddof=1)
    ranked = [
        ChoiceImportance(space.choices[column].name, float(means[column]), float(deviations[column]))
        for column in np.argsort(-means, kind="stable")
    ]
    return Importance(tuple(ranked), float(1 - (residuals**2).mean() / variance), len(values))


def _shuffled(codes: Codes, repeats: int, rng: np.random.Generator) -> Codes:
    """For each column `repeats` copies of the rows with only this column shuffled, all in one matrix: one prediction
    of many rows takes a small part of the time of many predictions (as scikit-learn's function does)."""
    columns = codes.shape[1]
    copies = np.tile(codes, (columns, repeats, 1, 1))
    for column in range(columns):
        for repeat in range(repeats):
            copies[column, repeat, :, column] = rng.permutation(codes[:, column])
    return copies.reshape(-1, columns)
