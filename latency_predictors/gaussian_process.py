"""The default predictor: a Gaussian process over log latency whose prior is a population of simulated devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import stdtrit

from latency_predictors.predictor import LatencyPredictor, Prediction
from latency_predictors.real_devices import RealDevices
from latency_predictors.simulated_devices import Population, SimulatedDevices
from latency_predictors.student_t import FREEDOM, regress
from search_spaces import SearchSpace
from search_spaces.space import Codes

if TYPE_CHECKING:
    from latency_predictors.matrix_bank import LatencyBank

Floats = NDArray[np.float64]

#: Standard deviation of the level of a device around that of its measurements: all but free, and small enough for the
#: rounding errors of a covariance that holds its square.
LEVEL = 2.0

#: The models among which the measurements choose: how much devices differ from the average simulated one, relative to
#: the population; ...
SCALES = (0.3, 1.0, 3.0)
#: ... or from a real device of the bank; ...
REAL_SCALES = (0.1, 0.3, 1.0)
#: ... what each choice does beside that, as standard deviation of the logarithm; ...
RESIDUALS = (0.0, 0.03)
#: ... and scale of the noise of log latencies.
NOISES = (0.004, 0.01, 0.02, 0.04, 0.08, 0.15)

#: Prior odds of "like one of the real devices" against "like the simulated ones".
REAL_ODDS = 0.005

#: Models of lower probability are left out, to predict faster.
NEGLIGIBLE = 2e-3

#: Architectures predicted at once: their rows fit into the cache of a processor.
BLOCK = 2048


@dataclass(frozen=True)
class _Model:
    """One hypothesis: what a device is like before it is measured."""

    base: str | None  # a device of the bank; `None`: the average of the simulated devices
    scale: float
    residual: float
    noise: float
    log_prior: float


class GaussianProcess(LatencyPredictor):
    """Log latency is that of the average device, plus what a population of devices varies in, plus a residual.

    The covariance of two architectures is that of their log latencies over a population of simulated devices
    (`SimulatedDevices`), a level that is free, and a small residual for every choice that two architectures share.
    Its mean is the average of the simulated devices, or what a real device of the bank takes. How far devices
    differ from it, how large residual and noise are, and which real device, if any, is near, are hypotheses weighed by
    their evidence on the measurements: real devices that point the wrong way get no weight. The noise has heavy
    tails (`regress`).

    The 90 % interval is Student's, with the variance of the mixture of all hypotheses; it holds a new measurement.

    Args:
        space: whose architectures are predicted.
        phase: one of `space.phases`.
        bank: measurements of other devices; none are needed.
        population: what simulated devices are like; by default what serves all spaces.

    Raises:
        ValueError: when the space has no such phase.
    """

    name = "gaussian_process"

    def __init__(
        self,
        space: SearchSpace,
        phase: str = "inference",
        bank: LatencyBank | None = None,
        population: Population | None = None,
    ) -> None:
        super().__init__(space, phase, bank)
        self._simulated = SimulatedDevices(space, phase, population)

    def blank(self) -> GaussianProcess:
        other = GaussianProcess(self.space, self.phase, self.bank)
        other._simulated = self._simulated
        other._known = self._known
        return other

    @cached_property
    def _known(self) -> RealDevices:
        """The devices of the bank, learned when they are first needed."""
        return RealDevices.learn(self.space, self.phase, self._simulated, self.bank)

    def _fit(self, codes: Codes, measured_ms: Floats) -> None:
        self._condition(codes, measured_ms, self._known)
        named = [model.base for model in self._models if model.base is not None]
        # Once more with the devices that matter alone, so that a saved predictor is the same.
        self._condition(codes, measured_ms, self._known.only(named))

    def _condition(self, codes: Codes, measured_ms: Floats, real: RealDevices) -> None:
        """Weigh all hypotheses by the measurements, and keep those that are not negligible."""
        self._codes, self._measured_ms, self._real = codes, measured_ms, real
        models = _hypotheses(real.names)
        logs = self._simulated.log_ms(codes)
        self._features, average = _centred(logs)
        bases = np.column_stack([average, real.log_ms(codes, logs)])[:, self._columns(models)]
        scale, residual, _, log_prior = _numbers(models)
        noise = self._noise(models)
        covariance = (
            scale[:, None, None] * (self._features @ self._features.T)
            + np.square(residual)[:, None, None] * _shared(codes, codes)
            + LEVEL**2
        )
        level = (np.log(measured_ms)[:, None] - bases).mean(axis=0)
        found = regress(covariance, np.log(measured_ms) - bases.T - level[:, None], noise)
        weight = np.exp(found.log_evidence + log_prior - (found.log_evidence + log_prior).max())
        weight /= weight.sum()
        kept = weight > NEGLIGIBLE
        self._models = [model for model, keep in zip(models, kept, strict=True) if keep]
        self._weight = weight[kept] / weight[kept].sum()
        self._level = level[kept]
        parts = _covariance_parts(self._models, len(codes))
        self._slopes = np.einsum("gi,gij->gj", found.coefficients[kept], parts)
        explained = parts.transpose(0, 2, 1) @ found.precision[kept] @ parts
        self._explained = np.tensordot(self._weight, explained, axes=1)

    def _predict(self, codes: Codes) -> Prediction:
        blocks = [self._log_moments(codes[start : start + BLOCK]) for start in range(0, max(1, len(codes)), BLOCK)]
        mean, variance = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        factor = np.exp(stdtrit(FREEDOM, 0.95) * np.sqrt(variance * (FREEDOM - 2) / FREEDOM))
        mean_ms = np.exp(mean)
        return Prediction(mean_ms, mean_ms / factor, mean_ms * factor)

    def _log_moments(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and variance of a new log measurement, shape (n,) each, over all hypotheses."""
        logs = self._simulated.log_ms(codes)
        features, average = _centred(logs)
        near, own = features @ self._features.T, np.einsum("ij,ij->i", features, features)
        parts = np.hstack([near, _shared(codes, self._codes), np.ones((len(codes), 1))])
        bases = np.column_stack([average, self._real.log_ms(codes, logs)])[:, self._columns(self._models)]
        means = self._level + bases + parts @ self._slopes.T
        mean = means @ self._weight
        scale, residual, _, _ = _numbers(self._models)
        prior = own * (self._weight @ scale) + self._weight @ (np.square(residual) + LEVEL**2)
        posterior = np.maximum(prior - np.einsum("ij,ij->i", parts @ self._explained, parts), 0)
        noise = self._weight @ np.square(self._noise(self._models)) * FREEDOM / (FREEDOM - 2)
        return mean, posterior + noise + np.square(means - mean[:, None]) @ self._weight

    def _columns(self, models: Sequence[_Model]) -> list[int]:
        """Where the base of each model is: the average of the simulated devices first, then real ones."""
        return [0 if model.base is None else 1 + self._real.names.index(model.base) for model in models]

    def _noise(self, models: Sequence[_Model]) -> Floats:
        """Of log measurements around each model, shape (models,): what is known of a real device is not exact either."""
        errors = np.concatenate([[0.0], self._real.errors])
        return np.asarray(np.hypot([model.noise for model in models], errors[self._columns(models)]))

    def _state(self) -> dict[str, Any]:
        return {
            "population": asdict(self._simulated.population),
            "codes": self._codes.tolist(),
            "measured_ms": self._measured_ms.tolist(),
            "real_devices": self._real.document(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        population = Population(**state["population"])
        if population != self._simulated.population:
            self._simulated = SimulatedDevices(self.space, self.phase, population)
        real = RealDevices.from_document(state["real_devices"], self.space, population.devices)
        codes = self.space.canonical(np.array(state["codes"], dtype=np.int64))
        measured_ms = np.array(state["measured_ms"], dtype=np.float64)
        if measured_ms.shape != (len(codes),) or not (np.isfinite(measured_ms).all() and (measured_ms > 0).all()):
            raise ValueError("the saved latencies are not one positive number for each architecture: calibrate anew")
        self._condition(codes, measured_ms, real)


def _hypotheses(real: tuple[str, ...]) -> list[_Model]:
    """All models, with their prior probabilities."""
    simulated = [(None, scale) for scale in SCALES]
    near = [(name, scale) for name in real for scale in REAL_SCALES]
    weighed = [
        (base, scale, np.log(odds / len(bases)))
        for bases, odds in ((simulated, 1.0), (near, REAL_ODDS))
        for base, scale in bases
    ]
    return [
        _Model(base, scale, residual, noise, log_prior)
        for base, scale, log_prior in weighed
        for residual in RESIDUALS
        for noise in NOISES
    ]


def _numbers(models: Sequence[_Model]) -> Floats:
    """Scales, residuals, noises and logarithms of prior probabilities, shape (4, models)."""
    rows = [[model.scale, model.residual, model.noise, model.log_prior] for model in models]
    return np.asarray(np.array(rows, dtype=np.float64).T)


def _covariance_parts(models: Sequence[_Model], n: int) -> Floats:
    """How the covariance with n measurements is made of (near, shared, 1), shape (models, n, 2 n + 1).

    It is linear in them for each model, so that the average of all models is one quadratic form.
    """
    scale, residual, _, _ = _numbers(models)[:, :, None, None]
    each = np.eye(n)
    level = np.full((len(models), n, 1), LEVEL**2)
    return np.concatenate([scale * each, np.square(residual) * each, level], axis=2)


def _centred(logs: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """What simulated devices differ in, shape (n, devices), whose products are covariances; and their average, shape (n,)."""
    exact = logs.astype(np.float64)
    average = exact.mean(axis=1)
    exact -= average[:, None]
    exact /= np.sqrt(exact.shape[1])
    return exact, average


def _shared(codes: Codes, others: Codes) -> Floats:
    """Share of the choices that two architectures agree in, shape (len(codes), len(others))."""
    return np.asarray(1 - cdist(codes, others, "hamming"))
