"""What surrogates learn from a study: the best networks, with losses on a scale that suits the search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.search.pareto import layers, nondominated
from nas.search.problem import Problem
from nas.search.samplers.batch import History
from nas.search.surrogates.warping import Warping
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Share of the first networks whose values matter in each of several expensive objectives.
USUAL = 0.75

#: Evaluated networks that the surrogates learn from: the best ones; more take more time and bring nothing measurable.
LEARNED = 600


class Lessons:
    """Evaluated networks, and their objectives: all to be minimised, the expensive ones are warped and come first.

    Args:
        problem: space, objectives and limits.
        history: what was evaluated.
        initial: how many random networks a search begins with.

    Attributes:
        order: column of each objective among those of the problem.
        warpings: of the expensive objectives, by column.
        losses: of all evaluated networks, shape (n, objectives).
        known: codes of those to learn from, the best ones first, shape (k, choices).
        rows: which of all they are, shape (k,).
        targets: losses of those in each expensive objective, each of shape (k,).
    """

    def __init__(self, problem: Problem, history: History, initial: int) -> None:
        objectives = problem.objectives
        self.order = sorted(range(len(objectives)), key=lambda column: objectives[column].values is not None)
        losses = history.values * problem.signs
        goals = _goals(problem, losses, initial)
        expensive = [column for column in self.order if objectives[column].values is None]
        self.warpings = {column: Warping.of(losses[:, column], goals[column]) for column in expensive}
        for column, warping in self.warpings.items():
            losses[:, column] = warping(losses[:, column])
        self.losses = losses[:, self.order]
        self.rows = np.argsort(layers(self.losses, LEARNED), kind="stable")[:LEARNED]
        self.known: Codes = history.codes[self.rows]
        self.targets: Sequence[Values] = [self.losses[self.rows, place] for place in range(len(expensive))]


def _goals(problem: Problem, losses: Values, initial: int) -> Values:
    """The worst value of each objective, to be minimised, that matters: its limit. Without one it is the median of
    the first networks if everything else is cheap. Otherwise the ends of the front matter, which are bad in one
    objective and good in another: it is the worst value of the present front, which a search that finds the middle of
    it first makes narrow, or that of `USUAL` of the first networks, whichever is worse."""
    alone = sum(metric.values is None for metric in problem.objectives) == 1
    goals = np.median(losses[:initial], axis=0)
    if not alone:
        front = losses[nondominated(losses)].max(axis=0)
        goals = np.maximum(front, np.quantile(losses[:initial], USUAL, axis=0))
    names = [metric.name for metric in problem.objectives]
    for limit in problem.goals:
        if limit.metric in names:
            column = names.index(limit.metric)
            if limit.sign == problem.signs[column]:
                goals[column] = limit.value * limit.sign
    return np.asarray(goals)
