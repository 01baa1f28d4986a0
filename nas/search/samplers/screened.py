"""The default sampler: surrogates judge tens of thousands of candidates, the study evaluates the best ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.search.acquisition import Beliefs, improvement
from nas.search.pareto import layers, nondominated
from nas.search.problem import Problem
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.screening import Screened, Screening
from nas.search.surrogates.descriptors import Described, Descriptors
from nas.search.surrogates.gaussian_process import GaussianProcess
from nas.search.surrogates.warping import Warping
from search_spaces.space import Codes

Values = NDArray[np.float64]

#: Evaluated networks that the surrogates learn from: the best ones; more take more time and bring nothing measurable.
LEARNED = 600

#: Candidates among which a batch is chosen with their correlations, and how coarsely they are found.
FINALISTS, STRIDE = 100, 16


#: By which share of its range the worst value that counts of a cheap objective is worse than all: so that the most
#: expensive network can add something too.
MARGIN = 0.01


class ScreenedSampler(BatchSampler):
    """Surrogate-assisted multi-objective search.

    After a few random networks, each batch is chosen thus: a Gaussian process learns every expensive objective from the
    evaluated networks; cheap objectives and limits are computed exactly; a search on these screens thousands of
    candidates; of them the batch is chosen one by one by expected improvement of the hypervolume, each as if those before
    it had the values that are expected of them. Limits on expensive objectives, such as `accuracy >= 0.9`, say which
    part of the front matters; without them it is what is better than the median of the random networks (all that is
    no worse than the present front, where several objectives are expensive).

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.
        batch_size: networks of a batch.
        initial: random networks before the first batch that is screened.
    """

    def __init__(self, problem: Problem, seed: int, batch_size: int = 10, initial: int = 10) -> None:
        super().__init__(problem, seed, batch_size)
        if initial < 2:
            raise ValueError(f"initial is {initial}: the surrogates need at least 2 networks to begin with")
        self.initial = initial
        self._describe = Descriptors(problem.space)
        self._screening = Screening(problem, self._describe)

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """The `n` candidates that together are expected to add most; random ones before there is enough to learn from."""
        if len(history.codes) < self.initial:
            codes = self.repaired(self.space.random_codes(n, rng), history.seen, rng)
            return Batch(codes, [{"source": "random"} for _ in codes])
        search = _Search(self.problem, history, self._describe, self._goals(history))
        found = self._screening(search.believe, search.known, history.seen, rng)
        if len(found.codes) == 0:
            codes = self.repaired(search.known[:n], history.seen, rng)
            return Batch(codes, [{"source": "neighbour"} for _ in codes])
        return search.chosen(found, n)

    def _goals(self, history: History) -> Values:
        """The worst value of each objective, to be minimised, that matters: its limit. Without one it is the median of
        the first networks if everything else is cheap, otherwise the worst value of the present front."""
        losses = history.values * self.problem.signs
        alone = sum(metric.values is None for metric in self.problem.objectives) == 1
        goals = np.median(losses[: self.initial], axis=0) if alone else losses[nondominated(losses)].max(axis=0)
        names = [metric.name for metric in self.problem.objectives]
        for limit in self.problem.goals:
            if limit.metric in names:
                column = names.index(limit.metric)
                if limit.sign == self.problem.signs[column]:
                    goals[column] = limit.value * limit.sign
        return goals


class _Search:
    """One batch: what was learned, and what would be gained.

    All objectives are to be minimised, the expensive ones are warped and come first.
    """

    def __init__(self, problem: Problem, history: History, describe: Descriptors, goals: Values) -> None:
        self._problem = problem
        self._order = sorted(range(len(goals)), key=lambda column: problem.objectives[column].values is not None)
        self._expensive = [column for column in self._order if problem.objectives[column].values is None]
        losses = history.values * problem.signs
        self._warpings = {column: Warping.of(losses[:, column], goals[column]) for column in self._expensive}
        for column, warping in self._warpings.items():
            losses[:, column] = warping(losses[:, column])
        self._losses = losses[:, self._order]
        rows = np.argsort(layers(self._losses, LEARNED), kind="stable")[:LEARNED]
        self.known = history.codes[rows]
        described = describe(self.known)
        self._models = [GaussianProcess(described, self._losses[rows, i]) for i in range(len(self._expensive))]

    def believe(self, codes: Codes, described: Described) -> Beliefs:
        """What the surrogates, and the cheap metrics, say of canonical codes."""
        predicted = [model.predict(described) for model in self._models]
        cheap = [self._cheap(column, codes) for column in self._order[len(predicted) :]]
        mean = np.stack([*(mean for mean, _ in predicted), *cheap], axis=1)
        deviation = np.zeros_like(mean)
        for column, (_, spread) in enumerate(predicted):
            deviation[:, column] = spread
        return Beliefs(mean, deviation)

    def _cheap(self, column: int, codes: Codes) -> Values:
        metric = self._problem.objectives[column]
        if metric.values is None:
            raise ValueError(f"{metric.name} is known only after an evaluation")
        return np.asarray(metric.values(codes) * self._problem.signs[column])

    def chosen(self, found: Screened, n: int) -> Batch:
        """The `n` candidates that together add most."""
        gain = improvement(self._losses, *self._box(found.beliefs), len(self._expensive))
        coarse = gain.expected(found.beliefs, STRIDE)
        finalists = found.take(np.argsort(-coarse, kind="stable")[:FINALISTS])
        joints = [model.joint(finalists.described)[1] for model in self._models]
        beliefs = _narrowed(finalists.beliefs, joints)
        picks, reasons = list[int](), list[Mapping[str, Any]]()
        for _ in range(min(n, len(finalists.codes))):
            gains = gain.expected(beliefs)
            gains[picks] = -1.0
            pick = int(np.argmax(gains))
            picks.append(pick)
            reasons.append(self._reason(beliefs, pick, float(gains[pick]), len(found.codes)))
            gain.add(beliefs.mean[pick : pick + 1])
            joints = [_conditioned(joint, pick) for joint in joints]
            beliefs = _narrowed(beliefs, joints)
        return Batch(finalists.codes[picks], reasons)

    def _box(self, candidates: Beliefs) -> tuple[Values, Values]:
        """The worst value of each objective that counts, and the best one that there may be: of the expensive ones the
        bound of the warping, of the others a little more than the highest of what is known and of the candidates."""
        points = np.concatenate([self._losses, candidates.mean])
        span = np.ptp(points, axis=0)
        reference = points.max(0) + MARGIN * np.where(span > 0, span, 1.0)
        reference[: len(self._expensive)] = [self._warpings[column].bound for column in self._expensive]
        return reference, np.minimum(points.min(0), (candidates.mean - 2 * candidates.deviation).min(0))

    def _reason(self, beliefs: Beliefs, pick: int, gain: float, screened: int) -> dict[str, Any]:
        """Why a candidate is taken: what is expected of it, and the hypervolume that is expected to be gained."""
        predicted, deviation = {}, {}
        for place, column in enumerate(self._order):
            name, sign, value = self._problem.objectives[column].name, self._problem.signs[column], beliefs.mean[pick]
            predicted[name] = float(value[place] * sign)
            if column in self._warpings:
                mean, spread = value[place], beliefs.deviation[pick, place]
                around = self._warpings[column].inverse(np.array([mean - spread, mean, mean + spread]))
                predicted[name] = float(around[1] * sign)
                deviation[name] = float(around[2] - around[0]) / 2
        return {"source": "screened", "predicted": predicted, "deviation": deviation, "gain": gain, "among": screened}


def _conditioned(joint: Values, pick: int) -> Values:
    """The covariance once one of the networks will be evaluated."""
    return joint - np.outer(joint[pick], joint[pick] / max(joint[pick, pick], np.finfo(float).tiny))


def _narrowed(beliefs: Beliefs, joints: list[Values]) -> Beliefs:
    deviation = beliefs.deviation.copy()
    for column, joint in enumerate(joints):
        deviation[:, column] = np.sqrt(np.maximum(np.diag(joint), 1e-12))
    return Beliefs(beliefs.mean, deviation)
