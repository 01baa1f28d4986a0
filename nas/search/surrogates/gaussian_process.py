"""A Gaussian process on choices, counts, costs and connectivity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dpotrs

from nas.search.surrogates.descriptors import Described
from nas.search.surrogates.surrogate import Surrogate, Values, standardised

#: What the hyper-parameters may be: decay of the covariance with the squared distance in each group, its share beside
#: that of the choices, and the variance of the noise.
RATES = ((0.12, 0.25, 0.5, 1.0, 2.0, 4.0), (0.04, 0.15, 0.6), (0.05, 0.2, 0.8, 3.2))
SHARES = (0.1, 0.3, 1.0, 3.0)
NOISES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)

#: The prior of the noise is log-normal: its median, and the deviation of its logarithm. Without it few networks are
#: explained too well.
NOISE_MEDIAN, NOISE_DEVIATION = 0.03, 1.5

#: Networks on which they are compared, evenly chosen among those given.
COMPARED = 150

#: Known networks that narrow the deviation of many predictions: time grows with the square of their number.
NEAR = 300


@dataclass(frozen=True)
class Covariance:
    """Hyper-parameters, as positions in the lists above.

    Attributes:
        rates: one for each group.
        shares: of the second and of the third group.
        noise: that an evaluation adds: what makes a network unlike its neighbours, and what chance does to its training.
    """

    rates: tuple[int, ...] = (3, 1, 2)
    shares: tuple[int, ...] = (2, 2)
    noise: int = 4

    @property
    def log_prior(self) -> float:
        """Logarithm of the density of the prior, but for a constant."""
        return -0.5 * (float(np.log(NOISES[self.noise] / NOISE_MEDIAN)) / NOISE_DEVIATION) ** 2

    @property
    def amplitudes(self) -> tuple[float, ...]:
        """Variance of each group."""
        return 1.0, *(SHARES[share] for share in self.shares)

    def neighbours(self) -> Iterator[Covariance]:
        """Those that differ by one step of one hyper-parameter."""
        for group, known in enumerate(RATES):
            for rate in _steps(self.rates[group], len(known)):
                yield replace(self, rates=(*self.rates[:group], rate, *self.rates[group + 1 :]))
        for group in range(2):
            for share in _steps(self.shares[group], len(SHARES)):
                yield replace(self, shares=(*self.shares[:group], share, *self.shares[group + 1 :]))
        for noise in _steps(self.noise, len(NOISES)):
            yield replace(self, noise=noise)

    def between(self, a: Described, b: Described) -> NDArray[np.float32]:
        """Covariance without noise, shape (len(a), len(b))."""
        total = self._of_group(0, a, b)
        for group in range(1, len(self.rates)):
            total += self._of_group(group, a, b)
        return total

    def _of_group(self, group: int, a: Described, b: Described) -> NDArray[np.float32]:
        amplitude = np.float32(self.amplitudes[group])
        if a.groups[group].shape[1] == 0:  # all are at the same place
            return np.full((len(a), len(b)), amplitude)
        covariance = squared_distances(a.groups[group], b.groups[group])
        covariance *= -RATES[group][self.rates[group]]
        np.exp(covariance, out=covariance)
        if amplitude != 1:
            covariance *= amplitude
        return covariance


def _steps(position: int, length: int) -> list[int]:
    return [step for step in (position - 1, position + 1) if 0 <= step < length]


def squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between all rows, shape (len(a), len(b))."""
    distances = (-2 * a) @ b.T
    distances += (a * a).sum(1)[:, None]
    distances += (b * b).sum(1)
    np.maximum(distances, 0, out=distances)
    return distances


class GaussianProcess(Surrogate):
    """Prediction with uncertainty; the covariance is the sum of one for each group of `Descriptors`.

    Noise is what the descriptors do not tell of a network. It belongs to the network, an evaluation repeats it, and it
    counts on the front: so it is part of what is predicted.

    Its hyper-parameters are those of the highest marginal likelihood times prior that climbing from the middle of small lists of
    values reaches (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.1); the overall
    variance is the best one for each, in closed form.
    """

    name: ClassVar[str] = "gaussian_process"

    def __init__(self, known: Described, values: Values) -> None:
        self._known = known
        standard, self._mean, self._scale = standardised(values)
        rows = np.arange(len(known)) if len(known) <= COMPARED else np.arange(COMPARED) * len(known) // COMPARED
        self.covariance = _climb(known.take(rows), standard[rows])
        self._fit = _fitted(self.covariance.between(known, known).astype(float), self.covariance.noise, standard)

    def predict(self, networks: Described) -> tuple[Values, Values]:
        """Mean and standard deviation of what an evaluation will give, each of shape (n,).

        The deviation takes the first `NEAR` known networks into account only, so that it is somewhat too high.
        """
        cross = self.covariance.between(networks, self._known)
        mean = cross @ self._fit.weights
        near = self._fit.factor[:NEAR, :NEAR].astype(np.float32)  # also the factor of the first ones alone
        solved = solve_triangular(near, cross[:, :NEAR].T, lower=True, check_finite=False)
        variance = np.maximum(self._prior - np.einsum("ij,ij->j", solved, solved), NOISES[self.covariance.noise])
        return mean * self._scale + self._mean, np.sqrt(variance * self._fit.variance) * self._scale

    def joint(self, networks: Described) -> tuple[Values, Values]:
        """Mean, shape (n,), and covariance, shape (n, n), of what evaluations of distinct networks will give."""
        cross = self.covariance.between(networks, self._known).astype(float)
        solved = solve_triangular(self._fit.factor, cross.T, lower=True, check_finite=False)
        prior = self.covariance.between(networks, networks).astype(float)
        own = NOISES[self.covariance.noise] * np.eye(len(networks))
        covariance = (prior + own - solved.T @ solved) * self._fit.variance * self._scale**2
        return cross @ self._fit.weights * self._scale + self._mean, covariance

    @property
    def _prior(self) -> float:
        return sum(self.covariance.amplitudes) + NOISES[self.covariance.noise]


@dataclass(frozen=True)
class _Fit:
    """Attributes: Cholesky factor, weights of the known networks, overall variance, logarithm of the likelihood."""

    factor: Values
    weights: Values
    variance: float
    likelihood: float


def _climb(known: Described, values: Values) -> Covariance:
    """The covariance of which no neighbour has a higher likelihood times prior."""
    distances = [squared_distances(group, group) for group in known.groups]
    parts: dict[tuple[int, int], NDArray[np.float32]] = {}
    tried: dict[Covariance, float] = {}

    def score(covariance: Covariance) -> float:
        if covariance not in tried:
            total = np.zeros((len(known), len(known)))
            for group, (rate, amplitude) in enumerate(zip(covariance.rates, covariance.amplitudes, strict=True)):
                if (group, rate) not in parts:
                    parts[group, rate] = np.exp(-RATES[group][rate] * distances[group])
                total += amplitude * parts[group, rate]
            tried[covariance] = _fitted(total, covariance.noise, values).likelihood + covariance.log_prior
        return tried[covariance]

    best = Covariance()
    while True:
        better = (near for near in best.neighbours() if score(near) > score(best))
        following = next(better, None)
        if following is None:
            return best
        best = following


def _fitted(covariance: Values, noise: int, values: Values) -> _Fit:
    """The fit to `values`, shape (n,); the noise is added to the covariance, shape (n, n), in place."""
    n = len(values)
    covariance.flat[:: n + 1] += NOISES[noise]
    factor, failed = dpotrf(covariance, lower=1, clean=1)  # `cholesky` and `cho_solve` take longer to call than to run
    if failed:
        return _Fit(np.eye(n), np.zeros(n), 1.0, -np.inf)
    weights, _ = dpotrs(factor, values, lower=1)
    variance = max(float(values @ weights) / n, 1e-12)
    return _Fit(factor, weights, variance, float(-0.5 * n * np.log(variance) - np.log(np.diag(factor)).sum()))
