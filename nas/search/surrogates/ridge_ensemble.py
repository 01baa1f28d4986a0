"""An ensemble of Bayesian ridge regressions, for objectives that are nearly sums over the choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.linalg import eigh

from nas.search.surrogates.descriptors import Described
from nas.search.surrogates.surrogate import Surrogate, Values, standardised

#: Of each member: how many groups of columns it sees, and the variance of a weight as a multiple of the noise's.
GROUPS = (1, 2, 3)
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

#: Members with less of the probability are left out.
LEAST = 0.01

#: The lowest variance of the noise, as a share of that of the values.
LEAST_NOISE = 1e-4


class RidgeEnsemble(Surrogate):
    """Bayesian model averaging (Hoeting et al., Statistical Science, 1999) of linear models.

    Each member is the posterior of a linear model with normal weights and noise (MacKay, Neural Computation, 1992); the
    noise is the likeliest one, in closed form. Members differ in the columns that they see and in the variance of the
    weights. They count by their marginal likelihoods; mean and covariance are those of the mixture.
    """

    name: ClassVar[str] = "ridge_ensemble"

    def __init__(self, known: Described, values: Values) -> None:
        standard, self._mean, self._scale = standardised(values)
        members = [member for groups in GROUPS for member in _members(known, groups, standard)]
        evidence = np.array([member.evidence for member in members])
        shares = np.exp(evidence - evidence.max())
        shares /= shares.sum()
        kept = np.flatnonzero(shares >= LEAST)
        self._members = [members[index] for index in kept]
        self._shares = shares[kept] / shares[kept].sum()

    def predict(self, networks: Described) -> tuple[Values, Values]:
        """As for `Surrogate`."""
        columns = [member.columns(networks) for member in self._members]
        means = np.stack([x @ member.weights for x, member in zip(columns, self._members, strict=True)])
        inner = [
            member.noise + ((x @ member.root) ** 2).sum(1) for x, member in zip(columns, self._members, strict=True)
        ]
        mean = self._shares @ means
        variance = self._shares @ (np.stack(inner) + (means - mean) ** 2)
        return mean * self._scale + self._mean, np.sqrt(variance) * self._scale

    def joint(self, networks: Described) -> tuple[Values, Values]:
        """As for `Surrogate`."""
        columns = [member.columns(networks) for member in self._members]
        means = np.stack([x @ member.weights for x, member in zip(columns, self._members, strict=True)])
        mean = self._shares @ means
        covariance = np.zeros((len(networks), len(networks)))
        for share, x, own, member in zip(self._shares, columns, means, self._members, strict=True):
            root = x @ member.root
            covariance += share * (root @ root.T + np.outer(own - mean, own - mean))
            covariance[np.diag_indices_from(covariance)] += share * member.noise
        return mean * self._scale + self._mean, covariance * self._scale**2


@dataclass(frozen=True)
class _Member:
    """One linear model.

    Attributes:
        groups: of columns that it sees.
        center: what is subtracted from the columns.
        weights: of the columns.
        root: its product with its transpose is the covariance of the weights.
        noise: variance of the noise.
        evidence: logarithm of the marginal likelihood, but for a constant.
    """

    groups: int
    center: Values
    weights: Values
    root: Values
    noise: float
    evidence: float

    def columns(self, networks: Described) -> Values:
        return _columns(networks, self.groups) - self.center


def _columns(networks: Described, groups: int) -> Values:
    return np.concatenate(networks.groups[:groups], axis=1).astype(np.float64)


def _members(known: Described, groups: int, values: Values) -> list[_Member]:
    """With each variance of the weights, from one eigendecomposition."""
    x = _columns(known, groups)
    center = x.mean(0)
    x -= center
    scales, vectors = eigh(x.T @ x, check_finite=False)
    scales = np.maximum(scales, 0)
    projected = vectors.T @ (x.T @ values)
    members = []
    for strength in STRENGTHS:
        shrunk = strength / (1 + strength * scales)  # covariance of the weights along the eigenvectors, by the noise
        noise = max(float(values @ values - projected**2 @ shrunk) / len(values), LEAST_NOISE)
        evidence = float(-0.5 * len(values) * np.log(noise) - 0.5 * np.log1p(strength * scales).sum())
        root = vectors * np.sqrt(noise * shrunk)
        members.append(_Member(groups, center, vectors @ (shrunk * projected), root, noise, evidence))
    return members
