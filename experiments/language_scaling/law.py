"""A law of loss as a function of shape, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from experiments.language_scaling.shapes import Floats, Shapes, Trainings
from nas.search.surrogates.descriptors import Descriptors
from nas.search.surrogates.gaussian_process import GaussianProcess
from search_spaces import SearchSpace

#: Penalties on standardised coefficients, and shares of the lowest loss that may be irreducible, that are tried.
PENALTIES = np.geomspace(1e-4, 1e2, 13)
FLOORS = np.linspace(0, 0.98, 50)

#: Gives losses of shape (m,) for the networks of the second table, from those of the first.
Predictor = Callable[[Trainings, Trainings], Floats]


@dataclass(frozen=True)
class Ridge:
    """A linear map with penalised coefficients of standardised columns.

    Attributes:
        mean: of the columns, shape (c,).
        coefficients: in the units of the columns, shape (c,); 0 for a column that does not vary.
        intercept: at the mean.
        left_out: leave-one-out predictions, shape (n,).
    """

    mean: Floats
    coefficients: Floats
    intercept: float
    left_out: Floats

    @classmethod
    def fit(cls, columns: Floats, values: Floats, penalty: float) -> Ridge:
        """Least squares of `values` (n,) on `columns` (n, c)."""
        mean, spread = columns.mean(0), columns.std(0)
        varies = spread > 1e-9 * (1 + np.abs(mean))
        scale = np.where(varies, spread, np.inf)
        u, singular, v = np.linalg.svd((columns - mean) / scale, full_matrices=False)
        shrunk = singular**2 / (singular**2 + penalty)
        centred = values - values.mean()
        fitted = u @ (shrunk * (u.T @ centred))
        leverage = (u**2) @ shrunk + 1 / len(values)
        inverse = np.divide(shrunk, singular, out=np.zeros_like(singular), where=singular > 1e-9)
        coefficients = (v.T @ (inverse * (u.T @ centred))) / scale
        left_out = values - (centred - fitted) / np.maximum(1 - leverage, 1e-6)
        return cls(mean, coefficients, float(values.mean()), left_out)

    def predict(self, columns: Floats) -> Floats:
        """Shape (m,) for columns (m, c)."""
        return np.asarray(self.intercept + (columns - self.mean) @ self.coefficients)


def best_ridge(columns: Floats, values: Floats) -> Ridge:
    """With the penalty of the lowest leave-one-out error."""
    found = [Ridge.fit(columns, values, penalty) for penalty in PENALTIES]
    return min(found, key=lambda ridge: float(((ridge.left_out - values) ** 2).sum()))


@dataclass(frozen=True)
class Law:
    """loss = floor + constant * product of size ** -exponent * exp(sum of weight * share).

    Sizes are depth, width, 1 + feed-forward ratio and training tokens; shares are those of the kinds of mixer. It is a
    separable power law as those of Kaplan et al. ("Scaling laws for neural language models", 2020) with an irreducible
    loss as of Hoffmann et al. ("Training compute-optimal large language models", 2022), in the shape in place of the
    number of parameters.

    Attributes:
        floor: the irreducible loss; what is tried is `FLOORS` of the lowest loss.
        exponents: by the names of the sizes; 0 for a size that did not vary.
        weights: by the kinds of mixer; only their differences matter.
    """

    floor: float
    exponents: Mapping[str, float]
    weights: Mapping[str, float]
    _ridge: Ridge

    @classmethod
    def fit(cls, shapes: Shapes, loss: Floats) -> Law:
        """The floor and penalty of the lowest squared leave-one-out error of the loss.

        Args:
            shapes: of the networks.
            loss: above 0, shape (n,).

        Raises:
            ValueError: when a loss is not above 0.
        """
        if not (loss > 0).all():
            raise ValueError("a loss is above 0")
        columns = _columns(shapes)
        floors = FLOORS * loss.min()
        found = [(floor, best_ridge(columns, np.log(loss - floor))) for floor in floors.tolist()]
        floor, ridge = min(found, key=lambda pair: float(((pair[0] + np.exp(pair[1].left_out) - loss) ** 2).sum()))
        numbers = ridge.coefficients.tolist()
        exponents = {name: -value for name, value in zip(shapes.sizes, numbers, strict=False)}
        return cls(floor, exponents, dict(zip(shapes.shares, numbers[len(exponents) :], strict=True)), ridge)

    def predict(self, shapes: Shapes) -> Floats:
        """Losses, shape (m,)."""
        return np.asarray(self.floor + np.exp(self._ridge.predict(_columns(shapes))))


def _columns(shapes: Shapes) -> Floats:
    return np.stack([*map(np.log, shapes.sizes.values()), *shapes.shares.values()], axis=1)


def _by_parameters(known: Trainings, asked: Trainings) -> Floats:
    """The logarithm of the loss, linear in those of the numbers of parameters and of tokens."""

    def columns(shapes: Shapes) -> Floats:
        return np.log(np.stack([shapes.parameters, shapes.sizes["tokens"]], axis=1))

    line = Ridge.fit(columns(known.shapes), np.log(known.loss), PENALTIES[0])
    return np.asarray(np.exp(line.predict(columns(asked.shapes))))


def _by_counts(known: Trainings, asked: Trainings) -> Floats:
    """Ridge on numbers of layers of each kind, sizes and parameters."""

    def columns(shapes: Shapes) -> Floats:
        layers = [share * shapes.sizes["depth"] for share in shapes.shares.values()]
        return np.stack([*layers, *shapes.sizes.values(), shapes.parameters], axis=1)

    return best_ridge(columns(known.shapes), known.loss).predict(columns(asked.shapes))


def predictors(space: SearchSpace) -> dict[str, Predictor]:
    """All that are compared, by name: the law, the two simple baselines, and the search's own surrogate, which knows
    nothing of tokens."""
    describe = Descriptors(space)
    return {
        "law of the shape": lambda known, asked: Law.fit(known.shapes, known.loss).predict(asked.shapes),
        "log-linear in parameters and tokens": _by_parameters,
        "ridge on counts": _by_counts,
        "Gaussian process of the search": lambda known, asked: GaussianProcess(
            describe(known.codes), known.loss
        ).predict(describe(asked.codes))[0],
    }
