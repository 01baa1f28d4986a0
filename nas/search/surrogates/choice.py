"""Which surrogate models an objective: by cross-validation on what was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from nas.search.surrogates.descriptors import Described
from nas.search.surrogates.gaussian_process import GaussianProcess
from nas.search.surrogates.random_forest import RandomForest
from nas.search.surrogates.ridge_ensemble import RidgeEnsemble
from nas.search.surrogates.surrogate import Surrogate, Values

Kind = type[Surrogate]

#: What is used unless another one is clearly better.
DEFAULT: Kind = GaussianProcess

#: All that there are.
SURROGATES: Mapping[str, Kind] = MappingProxyType(
    {kind.name: kind for kind in (GaussianProcess, RidgeEnsemble, RandomForest)}
)

#: Parts into which the known networks are cut for cross-validation; the share of them, the latest ones, that are to be
#: foreseen.
FOLDS, LATEST = 3, 0.25

#: By how many standard errors another one must be better.
ERRORS = 2.0


def chosen(known: Described, values: Values, order: NDArray[np.intp]) -> Kind:
    """The surrogate of the highest cross-validated density among those that are clearly better than `DEFAULT`, if any.

    Clearly better is one whose density is higher by `ERRORS` standard errors of the difference in the mean over the
    networks, and higher too for the latest networks when it knows those before them only: a search moves on, and
    cross-validation does not say how well something predicts where it comes to.

    Args:
        known: evaluated networks, at least `2 * FOLDS`, the best ones first, so that each part has its share of them.
        values: of the objective, shape (n,).
        order: when each was evaluated, shape (n,).
    """
    part = np.arange(len(known)) % FOLDS
    folds = [part == fold for fold in range(FOLDS)]
    latest = [order >= np.quantile(order, 1 - LATEST)]
    usual = log_density(DEFAULT, known, values, folds)
    best, most = DEFAULT, 0.0
    for kind in (other for other in SURROGATES.values() if other is not DEFAULT):
        gain = log_density(kind, known, values, folds) - usual
        mean, error = float(gain.mean()), float(gain.std(ddof=1)) / np.sqrt(len(gain))
        if mean > max(most, ERRORS * error) and _forecast(kind, known, values, latest):
            best, most = kind, mean
    return best


def _forecast(kind: Kind, known: Described, values: Values, latest: list[NDArray[np.bool_]]) -> bool:
    """Whether it foresees the latest networks better than `DEFAULT`."""
    ours, usual = (log_density(each, known, values, latest).mean() for each in (kind, DEFAULT))
    return bool(ours > usual)


def log_density(kind: Kind, known: Described, values: Values, parts: Sequence[NDArray[np.bool_]]) -> Values:
    """Logarithm of the predicted density of the value of each network of each part, if the others are known.

    Args:
        kind: of surrogate.
        known: evaluated networks.
        values: of the objective, shape (n,).
        parts: masks of shape (n,); they leave at least two networks.
    """
    density = []
    for held in parts:
        mean, covariance = kind(known.take(~held), values[~held]).joint(known.take(held))
        density.append(norm.logpdf(values[held], mean, np.sqrt(np.diag(covariance))))
    return np.concatenate(density)
