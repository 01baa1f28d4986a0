"""The default sampler: surrogates judge tens of thousands of candidates, the study evaluates the best ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from nas.search.acquisition import Beliefs, improvement
from nas.search.problem import Problem
from nas.search.samplers.batch import Batch, BatchSampler, History
from nas.search.samplers.lessons import Lessons
from nas.search.samplers.screening import Screened, Screening
from nas.search.surrogates.choice import DEFAULT, SURROGATES, Kind, chosen
from nas.search.surrogates.descriptors import Described, Descriptors
from search_spaces.space import Codes, nearest

Values = NDArray[np.float64]

#: The option that leaves the choice of the surrogate to what was evaluated; it is made after so many networks, and anew
#: each time that their number has doubled, since it takes as long as several batches.
CHOSEN, FIRST = "chosen", 200

#: Candidates among which a batch is chosen with their correlations, and how coarsely they are found.
FINALISTS, STRIDE = 100, 16

#: By which share of its range the worst value that counts of a cheap objective is worse than all: so that the most
#: expensive network can add something too.
MARGIN = 0.01


class ScreenedSampler(BatchSampler):
    """Surrogate-assisted multi-objective search.

    After a few random networks, each batch is chosen thus: a surrogate learns every expensive objective from the
    evaluated networks; cheap objectives and limits are computed exactly; a search on these screens thousands of
    candidates; of them the batch is chosen one by one by expected improvement of the hypervolume, each as if those
    before it had the values that are expected of them. Limits on expensive objectives, such as `accuracy >= 0.9`, say which
    part of the front matters; without them it is what is better than the median of the random networks (where several
    objectives are expensive, all that is no worse than the present front, or better than a quarter of those networks).

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.
        batch_size: networks of a batch.
        initial: random networks before the first batch that is screened.
        surrogate: `gaussian_process`, `ridge_ensemble`, `random_forest`; or `chosen`: for each objective the one of the
            highest cross-validated likelihood, a Gaussian process in case of doubt.
    """

    def __init__(
        self, problem: Problem, seed: int, batch_size: int = 10, initial: int = 10, surrogate: str = CHOSEN
    ) -> None:
        super().__init__(problem, seed, batch_size)
        if initial < 2:
            raise ValueError(f"initial is {initial}: the surrogates need at least 2 networks to begin with")
        known = [CHOSEN, *SURROGATES]
        if surrogate not in known:
            raise ValueError(
                f"there is no surrogate {surrogate!r}{nearest(surrogate, known)}; it is {', '.join(known)}"
            )
        self.initial, self.surrogate = initial, surrogate
        self._expensive = sum(metric.values is None for metric in problem.objectives)
        self._choice: tuple[bytes, Sequence[Kind]] = b"", []
        self._libraries = ThreadpoolController()
        self._describe = Descriptors(problem.space)
        self._screening = Screening(problem, self._describe)

    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """The `n` candidates that together are expected to add most; random ones before there is enough to learn from."""
        if len(history.codes) < self.initial:
            codes = self.repaired(self.space.random_codes(n, rng), history.seen, rng)
            return Batch(codes, [{"source": "random"} for _ in codes])
        # Its many small matrix products take several times as long when threads wait for each other.
        with self._libraries.limit(limits=1, user_api="blas"):
            return self._screened(history, n, rng)

    def _screened(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        lessons = Lessons(self.problem, history, self.initial)
        search = _Search(self.problem, lessons, self._describe(lessons.known), self._kinds(history))
        found = self._screening(search.believe, lessons.known, history.seen, rng)
        if len(found.codes) == 0:
            codes = self.repaired(lessons.known[:n], history.seen, rng)
            return Batch(codes, [{"source": "neighbour"} for _ in codes])
        return search.chosen(found, n)

    def _kinds(self, history: History) -> Sequence[Kind]:
        """The surrogate of each expensive objective.

        It depends on the first networks alone, whose number is `FIRST` times a power of two, so that the choice is made
        seldom and a resumed search makes the same one; that of the last time is kept.
        """
        if self.surrogate != CHOSEN:
            return [SURROGATES[self.surrogate]] * self._expensive
        if len(history.codes) < FIRST:
            return [DEFAULT] * self._expensive
        first = history.first(FIRST << (len(history.codes) // FIRST).bit_length() - 1)
        key = first.codes.tobytes() + first.values.tobytes()
        if key != self._choice[0]:
            lessons = Lessons(self.problem, first, self.initial)
            known = self._describe(lessons.known)
            self._choice = key, [chosen(known, losses, lessons.rows) for losses in lessons.targets]
        return self._choice[1]


class _Search:
    """One batch: what was learned, and what would be gained. Objectives are those of `Lessons`."""

    def __init__(self, problem: Problem, lessons: Lessons, known: Described, kinds: Sequence[Kind]) -> None:
        self._problem = problem
        self._order, self._warpings, self._losses = lessons.order, lessons.warpings, lessons.losses
        self._models = [kind(known, losses) for kind, losses in zip(kinds, lessons.targets, strict=True)]
        names = [problem.objectives[column].name for column in self._order]
        self._surrogates = {name: kind.name for name, kind in zip(names, kinds, strict=False)}

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
        gain = improvement(self._losses, *self._box(found.beliefs), len(self._models))
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
        reference[: len(self._models)] = [warping.bound for warping in self._warpings.values()]
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
        return {
            "source": "screened",
            "surrogates": self._surrogates,
            "predicted": predicted,
            "deviation": deviation,
            "gain": gain,
            "among": screened,
        }


def _conditioned(joint: Values, pick: int) -> Values:
    """The covariance once one of the networks will be evaluated."""
    return joint - np.outer(joint[pick], joint[pick] / max(joint[pick, pick], np.finfo(float).tiny))


def _narrowed(beliefs: Beliefs, joints: list[Values]) -> Beliefs:
    deviation = beliefs.deviation.copy()
    for column, joint in enumerate(joints):
        deviation[:, column] = np.sqrt(np.maximum(np.diag(joint), 1e-12))
    return Beliefs(beliefs.mean, deviation)
