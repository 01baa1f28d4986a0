"""The Gaussian process against scikit-learn's with the same covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Kernel

import search_spaces
from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.gaussian_process import (
    NEAR,
    NOISE_DEVIATION,
    NOISE_MEDIAN,
    NOISES,
    RATES,
    SHARES,
    Covariance,
    GaussianProcess,
    Values,
)

SPACE = search_spaces.get("nasbench201", cells=1)
DESCRIBE = Descriptors(SPACE)


class Sum(Kernel):  # type: ignore[misc]
    """A sum of scikit-learn's kernels, each on its own columns, times a variance."""

    def __init__(self, variance: float, kernels: list[RBF], weights: tuple[float, ...], widths: list[int]) -> None:
        self.variance, self.kernels, self.weights, self.widths = variance, kernels, weights, widths

    def __call__(self, X: Values, Y: Values | None = None, eval_gradient: bool = False) -> Values:
        cuts = np.cumsum(self.widths)[:-1]
        others = np.split(X if Y is None else Y, cuts, axis=1)
        parts = zip(self.weights, self.kernels, np.split(X, cuts, axis=1), others, strict=True)
        return np.asarray(self.variance * sum(weight * kernel(a, b) for weight, kernel, a, b in parts))

    def diag(self, X: Values) -> Values:
        return np.full(len(X), self.variance * sum(self.weights))

    def is_stationary(self) -> bool:
        return True


def truth(codes: NDArray[np.int64]) -> Values:
    """Something smooth, something rough, and an interaction."""
    rng = np.random.default_rng(3)
    rough = rng.standard_normal((6, 5))[np.arange(6), codes].sum(1)
    return np.asarray(50 + 7 * rough + 3 * (codes[:, 0] == codes[:, 3]) + rng.normal(0, 1, len(codes)))


def matrix(described: Described) -> Values:
    return np.concatenate(described.groups, axis=1).astype(float)


@pytest.fixture(scope="module")
def known() -> tuple[Described, Values]:
    codes = SPACE.random_codes(60, np.random.default_rng(0))
    return DESCRIBE(codes), truth(codes)


@pytest.fixture(scope="module")
def model(known: tuple[Described, Values]) -> GaussianProcess:
    return GaussianProcess(*known)


@pytest.fixture(scope="module")
def new() -> Described:
    return DESCRIBE(SPACE.random_codes(40, np.random.default_rng(1)))


def reference(covariance: Covariance, known: Described, values: Values) -> tuple[Any, float, float]:
    """scikit-learn's process of standardised values with the variance of the highest likelihood; mean, deviation."""
    mean, scale = float(values.mean()), float(values.std())
    standard, X = (values - mean) / scale, matrix(known)
    kernels = [RBF((2 * RATES[group][rate]) ** -0.5) for group, rate in enumerate(covariance.rates)]
    weights = (1.0, *(SHARES[share] for share in covariance.shares))
    noise = NOISES[covariance.noise]
    widths = [group.shape[1] for group in known.groups]
    unit = Sum(1.0, kernels, weights, widths)(X) + noise * np.eye(len(X))
    variance = float(standard @ np.linalg.solve(unit, standard)) / len(X)
    kernel = Sum(variance, kernels, weights, widths)
    return GaussianProcessRegressor(kernel, alpha=noise * variance, optimizer=None).fit(X, standard), mean, scale


def test_prediction(model: GaussianProcess, known: tuple[Described, Values], new: Described) -> None:
    theirs, mean, scale = reference(model.covariance, *known)
    expected, deviation = theirs.predict(matrix(new), return_std=True)
    found = model.predict(new)
    np.testing.assert_allclose(found[0], expected * scale + mean, rtol=1e-4)
    np.testing.assert_allclose(found[1], np.sqrt(deviation**2 + theirs.alpha) * scale, rtol=2e-3)
    _, covariance = theirs.predict(matrix(new), return_cov=True)
    covariance += theirs.alpha * np.eye(len(covariance))
    joint = model.joint(new)
    np.testing.assert_allclose(joint[0], found[0], rtol=1e-4)
    np.testing.assert_allclose(joint[1], covariance * scale**2, atol=1e-3 * covariance.max() * scale**2)
    np.testing.assert_allclose(np.sqrt(np.diag(joint[1])), found[1], rtol=2e-3)


def test_no_neighbour_is_likelier(model: GaussianProcess, known: tuple[Described, Values]) -> None:
    """By scikit-learn's likelihood, and scipy's log-normal prior of the noise."""

    def score(covariance: Covariance) -> float:
        log_noise = np.log(NOISES[covariance.noise])
        prior = norm.logpdf(log_noise, np.log(NOISE_MEDIAN), NOISE_DEVIATION)
        return float(reference(covariance, *known)[0].log_marginal_likelihood() + prior)

    others = [score(covariance) for covariance in model.covariance.neighbours()]
    assert len(others) >= 6
    assert score(model.covariance) > score(Covariance()) - 1e-3
    assert score(model.covariance) >= max(others) - 1e-3


def test_it_predicts_better_than_the_mean(model: GaussianProcess) -> None:
    codes = SPACE.random_codes(300, np.random.default_rng(5))
    values = truth(codes)
    mean, deviation = model.predict(DESCRIBE(codes))
    residual = values - mean
    assert residual.std() < 0.6 * values.std()
    covered = np.abs(residual) < 1.645 * deviation
    assert 0.75 < covered.mean() < 0.99  # 90 % are meant


@pytest.mark.parametrize("values", [np.full(5, 0.1), np.zeros(5), np.array([1e9, 1e9, 1e9, 1e9, 2e9])])
def test_values_without_spread_or_of_any_size(values: Values, new: Described) -> None:
    model = GaussianProcess(new.take(np.arange(5)), values)
    mean, deviation = model.predict(new)
    assert np.isfinite([mean, deviation]).all()
    assert (deviation >= 0).all()
    assert np.isfinite(model.joint(new)[1]).all()
    np.testing.assert_allclose(mean, values.mean(), atol=2 * np.ptp(values) + 1e-6)


def test_two_equal_networks_with_different_values(new: Described) -> None:
    model = GaussianProcess(new.take(np.array([0, 0])), np.array([1.0, 3.0]))
    mean, _ = model.predict(new)
    assert mean[0] == pytest.approx(2)
    assert np.isfinite(mean).all()


def test_deviations_of_many_known_networks_are_not_too_low() -> None:
    """They take only some of them into account, the joint covariance takes all."""
    codes = SPACE.random_codes(NEAR + 100, np.random.default_rng(0))
    new = DESCRIBE(SPACE.random_codes(50, np.random.default_rng(1)))
    model = GaussianProcess(DESCRIBE(codes), truth(codes))
    mean, deviation = model.predict(new)
    exact, covariance = model.joint(new)
    np.testing.assert_allclose(mean, exact, rtol=1e-4)
    ratio = deviation / np.sqrt(np.diag(covariance))
    assert ratio.min() > 1 - 1e-3
    assert ratio.max() < 1.5
