"""Regression with heavy tails against closed forms and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm, t

from latency_predictors.student_t import regress


def models(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((3, n, n))
    return root @ root.transpose(0, 2, 1) / n, rng.standard_normal((3, n))


def test_with_many_degrees_of_freedom_the_noise_is_normal() -> None:
    covariance, residual = models(6)
    noise = np.array([0.1, 0.5, 1.0])
    found = regress(covariance, residual, noise, freedom=1e8)
    for k in range(3):
        total = covariance[k] + noise[k] ** 2 * np.eye(6)
        np.testing.assert_allclose(found.coefficients[k], np.linalg.solve(total, residual[k]), rtol=1e-4)
        np.testing.assert_allclose(found.precision[k], np.linalg.inv(total), rtol=1e-4, atol=1e-7)
        assert found.log_evidence[k] == pytest.approx(
            multivariate_normal(np.zeros(6), total).logpdf(residual[k]), abs=1e-4
        )


@pytest.mark.parametrize("residual", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_the_evidence_is_a_close_lower_bound(residual: float, noise: float) -> None:
    """Of one measurement the evidence is an integral over the value."""
    found = regress(np.ones((1, 1, 1)), np.full((1, 1), residual), np.array([noise]))
    exact, _ = quad(lambda value: norm.pdf(value) * t.pdf(residual - value, 5, scale=noise), -10, 10, limit=200)
    assert np.log(exact) - 0.3 < found.log_evidence[0] <= np.log(exact) + 1e-9


def test_an_outlier_loses_its_weight() -> None:
    """Six measurements of one value, one of them far off: the median, not the mean, is followed."""
    residual = np.array([[1.0, 1.01, 0.99, 1.02, 0.98, 3.0]])
    found = regress(np.ones((1, 6, 6)), residual, np.array([0.02]))
    assert np.ones(6) @ found.coefficients[0] == pytest.approx(1.0, abs=0.02)
