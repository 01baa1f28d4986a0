"""Gaussian process regression whose measurements scatter with heavy tails, for many covariances at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

Floats = NDArray[np.float64]

#: Degrees of freedom of the noise, as robust regression usually has it.
FREEDOM = 5.0
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Posterior:
    """What g models make of n measurements.

    Attributes:
        log_evidence: lower bound of the log marginal likelihood of each model, shape (g,).
        coefficients: the posterior mean at x is the prior's plus k(x, X) @ coefficients, shape (g, n).
        precision: the posterior variance at x is k(x, x) - k(x, X) @ precision @ k(X, x), shape (g, n, n).
    """

    log_evidence: Floats
    coefficients: Floats
    precision: Floats


def regress(covariance: Floats, residual: Floats, noise: Floats, freedom: float = FREEDOM) -> Posterior:
    """Fit each model with Student-t noise.

    A Student-t is a normal whose precision is drawn from a gamma distribution. The posteriors of the values and of the
    precision of each measurement are found by turns (variational inference; Tipping and Lawrence, "Variational
    inference for Student-t models", Neurocomputing 2005).

    Args:
        covariance: of the values at the measured places, shape (g, n, n).
        residual: measurements minus prior mean, shape (g, n).
        noise: scale of the noise of each model, shape (g,).
        freedom: degrees of freedom of the noise.
    """
    variance, n = np.square(noise)[:, None], residual.shape[1]
    weight = np.ones_like(residual)  # expected precision of a measurement, relative to that of the noise
    for rounds_left in reversed(range(ROUNDS)):
        total = covariance + (variance / weight)[:, :, None] * np.eye(n)
        precision = np.asarray(np.linalg.inv(total), dtype=np.float64)
        coefficients = np.einsum("gij,gj->gi", precision, residual)
        if rounds_left:
            value = np.einsum("gij,gj->gi", covariance, coefficients)
            explained = np.einsum("gij,gij->gi", covariance @ precision, covariance)
            spread = np.diagonal(covariance, axis1=1, axis2=2) - explained
            squares = np.square(residual - value) + np.maximum(spread, 0)
            weight = (freedom + 1) / (freedom + squares / variance)
    fit = -0.5 * (np.einsum("gi,gi->g", residual, coefficients) + np.linalg.slogdet(total)[1] + n * np.log(2 * np.pi))
    return Posterior(fit + _bound(weight, freedom).sum(axis=1), coefficients, precision)


def _bound(weight: Floats, freedom: float) -> Floats:
    """What the uncertain precisions add to the log evidence of normal noise with the precisions `weight`."""
    prior, shape = freedom / 2, (freedom + 1) / 2
    rate = shape / weight
    divergence = (
        (shape - prior) * digamma(shape)
        - gammaln(shape)
        + gammaln(prior)
        + prior * (np.log(rate) - np.log(prior))
        + shape * (prior / rate - 1)
    )
    return np.asarray(0.5 * (digamma(shape) - np.log(rate) - np.log(weight)) - divergence)
