"""A random forest, for objectives with steps and with interactions of several choices."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.search.surrogates.descriptors import Described
from nas.search.surrogates.surrogate import Surrogate, Values, standardised

TREES = 20

#: The share of the columns that a split looks at: Breiman's for regression.
COLUMNS = 1 / 3

#: Which part of the variance may be that between the trees; the rest is the same for all networks.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: The lowest variance, as a share of that of the values.
LEAST = 1e-4


class RandomForest(Surrogate):
    """Mean over the trees (Breiman, Machine Learning, 2001); the covariance is that between the trees, and noise.

    How much of each there is makes the values of the known networks likeliest, given the predictions of the trees that were
    not fitted to them (out of bag).
    """

    name: ClassVar[str] = "random_forest"

    def __init__(self, known: Described, values: Values) -> None:
        from sklearn.ensemble import RandomForestRegressor  # most searches do without it, and it takes a while

        standard, self._mean, self._scale = standardised(values)
        forest = RandomForestRegressor(TREES, max_features=COLUMNS, random_state=0, n_jobs=1)
        forest.fit(_columns(known), standard)
        self._trees = forest.estimators_
        out = np.ones((TREES, len(known)), dtype=bool)
        for tree, drawn in enumerate(forest.estimators_samples_):
            out[tree, drawn] = False
        self._between, self._noise = _calibrated(self._each(known), out, standard)

    def predict(self, networks: Described) -> tuple[Values, Values]:
        """As for `Surrogate`."""
        each = self._each(networks)
        variance = self._between * each.var(0, ddof=1) + self._noise
        return each.mean(0) * self._scale + self._mean, np.sqrt(variance) * self._scale

    def joint(self, networks: Described) -> tuple[Values, Values]:
        """As for `Surrogate`."""
        each = self._each(networks)
        mean = each.mean(0)
        apart = each - mean
        covariance = self._between / (TREES - 1) * (apart.T @ apart) + self._noise * np.eye(len(networks))
        return mean * self._scale + self._mean, covariance * self._scale**2

    def _each(self, networks: Described) -> Values:
        """Prediction of every tree, shape (trees, n)."""
        columns = _columns(networks)
        return np.stack([tree.predict(columns, check_input=False) for tree in self._trees])


def _columns(networks: Described) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.concatenate(networks.groups, axis=1), dtype=np.float32)


def _calibrated(each: Values, out: NDArray[np.bool_], values: Values) -> tuple[float, float]:
    """By what the variance between the trees is multiplied, and the variance of the noise.

    Args:
        each: prediction of every tree, shape (trees, n).
        out: whether a tree was fitted without a network, the same shape.
        values: shape (n,).
    """
    count = out.sum(0)
    rows = count >= 2
    if not rows.any():
        return 1.0, max(float(values.var()), LEAST)
    each, out, count = each[:, rows], out[:, rows], count[rows]
    mean = (each * out).sum(0) / count
    between = ((each - mean) ** 2 * out).sum(0) / (count - 1)
    squared = (values[rows] - mean) ** 2
    typical = max(float(between.mean()), LEAST)
    best = (-np.inf, 0.0, 0.0)
    for share in SHARES:
        shape = np.maximum(share * between / typical + 1 - share, 1e-2)
        scale = max(float((squared / shape).mean()), LEAST)
        best = max(best, (float(-0.5 * np.log(scale * shape).sum()), share * scale / typical, (1 - share) * scale))
    return best[1], max(best[2], LEAST)
