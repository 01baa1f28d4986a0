"""Samplers that propose several networks at once, from all that was evaluated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.search.encoding import trial_codes
from nas.search.problem import Problem
from nas.search.samplers.unique import UniqueSampler
from search_spaces.space import Codes


@dataclass(frozen=True)
class History:
    """What a study holds.

    Attributes:
        codes: of the evaluated networks, canonical, shape (n, choices), in the order of their trials.
        values: of the objectives, in the study's directions, shape (n, objectives).
        others: codes of all other networks that were proposed (waiting, running, failed), shape (k, choices).
    """

    codes: Codes
    values: NDArray[np.float64]
    others: Codes

    def first(self, n: int) -> History:
        """The first `n` evaluated networks, as if there were nothing else."""
        return History(self.codes[:n], self.values[:n], self.others[:0])

    @property
    def seen(self) -> set[bytes]:
        """All rows that may not be proposed again."""
        return {row.tobytes() for row in np.concatenate([self.codes, self.others])}


@dataclass(frozen=True)
class Batch:
    """Networks to evaluate next.

    Attributes:
        codes: canonical, shape (n, choices).
        reasons: why each was chosen (JSON values), for people.
    """

    codes: Codes
    reasons: list[Mapping[str, Any]] = field(default_factory=list)


class BatchSampler(UniqueSampler):
    """Proposes batches, which wait in the study until a worker takes them (see `nas.search.queue`).

    Args:
        problem: space, objectives and limits.
        seed: of all random draws.
        batch_size: networks of a batch.
    """

    def __init__(self, problem: Problem, seed: int, batch_size: int = 10) -> None:
        super().__init__(problem, seed)
        self.batch_size = batch_size
        self._encoded: dict[int, Codes] = {}

    @abstractmethod
    def batch(self, history: History, n: int, rng: np.random.Generator) -> Batch:
        """At most `n` new networks that keep the cheap limits: a pure function of its arguments.

        Raises:
            SpaceExhausted: when there is none.
        """

    def history(self, study: Study, before: int) -> History:
        """What the trials with numbers below `before` hold."""
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number < before]
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        others = [trial for trial in trials if trial.state != TrialState.COMPLETE and self._has_codes(trial)]
        values = np.array([trial.values for trial in done], dtype=float).reshape(-1, len(self.problem.objectives))
        return History(self._codes(done), values, self._codes(others))

    def next_batch(self, study: Study, start: int) -> Batch:
        """The batch that begins with trial number `start`."""
        return self.batch(self.history(study, start), self.batch_size, np.random.default_rng([self.seed, start]))

    def proposal(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Codes:
        """A batch of one, for whoever asks Optuna without the queue."""
        return self.batch(self.history(study, trial.number), 1, rng).codes[:1]

    def _has_codes(self, trial: FrozenTrial) -> bool:
        return len(trial.params) == len(self.space.choices)

    def _codes(self, trials: list[FrozenTrial]) -> Codes:
        """Codes of trials; each is encoded once, its parameters never change."""
        for trial in trials:
            if trial.number not in self._encoded:
                self._encoded[trial.number] = trial_codes(self.space, trial.params)
        empty = np.zeros((0, len(self.space.choices)), dtype=np.int64)
        return np.concatenate([empty, *(self._encoded[trial.number] for trial in trials)])
