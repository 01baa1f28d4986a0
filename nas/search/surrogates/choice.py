"""Which surrogate models an objective: by cross-validation on what was evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
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

#: Parts into which the known networks are cut.
FOLDS = 3

#: By how many standard errors another one must be better.
ERRORS = 2.0


def log_density(kind: Kind, known: Described, values: Values) -> Values:
    """Logarithm of the predicted density of each value, by a surrogate that does not know it; shape (n,).

    Args:
        kind: of surrogate.
        known: evaluated networks, at least `2 * FOLDS`.
        values: of the objective, shape (n,).
    """
    part = np.arange(len(known)) % FOLDS  # of good ones and of bad ones, which come last, each has the same share
    density = np.empty(len(known))
    for fold in range(FOLDS):
        held = part == fold
        mean, covariance = kind(known.take(~held), values[~held]).joint(known.take(held))
        density[held] = norm.logpdf(values[held], mean, np.sqrt(np.diag(covariance)))
    return density


def chosen(known: Described, values: Values) -> Kind:
    """The surrogate of the highest held-out density, if it beats `DEFAULT` by `ERRORS` standard errors of the difference
    in the mean over the networks; otherwise `DEFAULT`."""
    reference = log_density(DEFAULT, known, values)
    best, margin = DEFAULT, 0.0
    for kind in SURROGATES.values():
        if kind is DEFAULT:
            continue
        gain = log_density(kind, known, values) - reference
        error = float(gain.std(ddof=1)) / np.sqrt(len(gain))
        mean = float(gain.mean())
        if mean > ERRORS * error and mean > margin:
            best, margin = kind, mean
    return best
