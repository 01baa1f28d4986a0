"""What an additive model of a study says that there is at most, at the costs of each of some networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.errors import UsageError
from nas.progress import Advance
from nas.search.additive import Additive, choice_places, fitted_scores
from nas.search.integer_program import IntegerProgram
from nas.search.metrics import Metric
from nas.search.program_start import additive_metric
from search_spaces import SearchSpace
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Evaluated networks that a regression needs.
FEWEST = 3


@dataclass(frozen=True, eq=False)
class AdditiveBound:
    """Bounds of the expensive objective, under an additive model of it; none of the truth.

    Attributes:
        objective: name of the expensive one.
        costs: names of the cheap ones.
        bound: for each network, the best that the model gives any network that is no worse in all costs, shape (n,).
        modelled: what the model gives the network itself, shape (n,).
        error: median distance of the model from the networks that it was fitted to, in the unit of the objective.
        fitted: how many these are.
    """

    objective: str
    costs: tuple[str, ...]
    bound: Values
    modelled: Values
    error: float
    fitted: int


def additive_bound(
    space: SearchSpace,
    objectives: Sequence[Metric],
    evaluated: Codes,
    values: Values,
    networks: Codes,
    seed: int = 0,
    progress: Advance | None = None,
) -> AdditiveBound:
    """The bounds that integer programs prove, as Puzzle (Bercovich et al., 2024) and HAWQ-V3 (Yao et al., ICML 2021).

    The model is a ridge regression of all evaluated networks on their options. Costs that are no sums are taken for
    the nearest one too; the network itself always keeps its own costs.

    Args:
        space: of the networks.
        objectives: one that is known only by evaluation, and at least one that is cheap.
        evaluated: codes of evaluated networks, shape (k, choices).
        values: their expensive objective, shape (k,).
        networks: codes of the networks at whose costs a bound is wanted, shape (n, choices).
        seed: of the random networks that a cost which is no sum is fitted on.
        progress: called with the number of bounds that are found, and of all.

    Raises:
        UsageError: when the objectives or the evaluations do not allow it, or a part of the network has too many variants.
        CheckFailed: when the solver has no answer in its time.
    """
    expensive, cheap = _parted(objectives)
    if len(evaluated) < FEWEST:
        raise UsageError(
            f"a bound needs {FEWEST} networks or more that were evaluated on all images, and there are "
            f"{len(evaluated)}: let 'nas search' evaluate more"
        )
    sign = 1.0 if expensive.direction == "maximize" else -1.0
    try:
        score = fitted_scores(space, evaluated, sign * values, choice_places(space))
        costs = {metric.name: _cost(metric, space, np.random.default_rng(seed)) for metric in cheap}
    except ValueError as wrong:
        raise UsageError(f"a bound cannot be had: {wrong}") from wrong
    bounds = _bounds(IntegerProgram(score, costs), networks, progress)
    error = float(np.median(np.abs(score(evaluated) - sign * values)))
    return AdditiveBound(expensive.name, tuple(costs), sign * bounds, sign * score(networks), error, len(evaluated))


def _parted(objectives: Sequence[Metric]) -> tuple[Metric, list[Metric]]:
    """The one that is evaluated, and those that are predicted."""
    expensive = [metric for metric in objectives if metric.values is None]
    cheap = [metric for metric in objectives if metric.values is not None]
    if len(expensive) != 1 or not cheap:
        names = ", ".join(metric.name for metric in objectives)
        raise UsageError(
            "a bound needs one objective that is evaluated and others that are predicted; "
            f"the objectives of this run are {names}"
        )
    return expensive[0], cheap


def _cost(metric: Metric, space: SearchSpace, rng: np.random.Generator) -> Additive:
    """What is predicted, not the limit that it is safe to promise, as a sum that is to be minimised."""
    cost = additive_metric(replace(metric, bound=None), space, rng)
    return cost if metric.direction == "minimize" else -cost


def _bounds(program: IntegerProgram, networks: Codes, progress: Advance | None) -> Values:
    """The highest score within the costs of each network, shape (n,)."""
    limits = {name: cost(networks) for name, cost in program.costs.items()}
    bounds = np.zeros(len(networks))
    for row in range(len(networks)):
        bounds[row] = program.best({name: float(limit[row]) for name, limit in limits.items()}).bound
        if progress is not None:
            progress(row + 1, len(networks))
    return bounds
