"""How far a search is: what its front holds, and for how long it has not grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.search.fidelity import is_complete
from nas.search.pareto import hypervolume, nondominated
from nas.search.warm_start import WARM_START

Values = NDArray[np.float64]


def evaluated(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The finished trials that this search evaluated itself: those that its budget counts."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE and WARM_START not in trial.user_attrs]


@dataclass(frozen=True)
class Standing:
    """The state of a search.

    Attributes:
        evaluated: networks that the search evaluated itself.
        front: networks on the Pareto front, among those that keep all limits and saw all images.
        hypervolume: of the front, as a share of the box that all evaluated networks span (0..1); the corner of its
            worst values lies a tenth of its size further out, so that the ends of the front count.
    """

    evaluated: int
    front: int
    hypervolume: float

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> Standing:
        """The standing of a study."""
        return Standings(directions).of(trials)

    def __str__(self) -> str:
        return f"front {self.front}, hypervolume {self.hypervolume:.3f}"


class Tally:
    """How many trials of a study that grows are in which state. Finished ones change no more, and are looked at once.

    Attributes:
        evaluated: finished trials that the search evaluated itself.
        running: those that some worker evaluates, or evaluated when it was killed.
    """

    def __init__(self) -> None:
        self.evaluated = 0
        self.running: list[FrozenTrial] = []
        self._seen: set[int] = set()  # of those from `_start` on
        self._start = 0

    def count(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Bring the figures up to date with all trials of the study; gives those that are finished and were not before."""
        finished, self.running = [], []
        for index in range(self._start, len(trials)):
            if index in self._seen:
                continue
            if trials[index].state.is_finished():
                self._seen.add(index)
                finished.append(trials[index])
            elif trials[index].state == TrialState.RUNNING:
                self.running.append(trials[index])
        while self._start in self._seen:
            self._seen.remove(self._start)
            self._start += 1
        self.evaluated += len(evaluated(finished))
        return finished


class Standings:
    """The standings of a study that grows.

    Args:
        directions: of the study.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._directions, self._tally = directions, Tally()
        self._front = np.zeros((0, len(directions)))
        self._best, self._worst = np.full((2, len(directions)), [[np.inf], [-np.inf]])

    def of(self, trials: Sequence[FrozenTrial]) -> Standing:
        """The standing of a study with these trials."""
        done = [trial for trial in self._tally.count(trials) if trial.state == TrialState.COMPLETE]
        values, kept = _minimised(done, self._directions)
        front = np.concatenate([self._front, values[kept]])
        self._front = front[nondominated(front)]
        self._best = np.minimum(self._best, values.min(axis=0, initial=np.inf))
        self._worst = np.maximum(self._worst, values.max(axis=0, initial=-np.inf))
        return Standing(self._tally.evaluated, len(self._front), self._share())

    def _share(self) -> float:
        if not len(self._front):
            return 0.0
        size = np.where(self._worst > self._best, self._worst - self._best, 1.0)
        return hypervolume((self._front - self._best) / size, np.full(len(size), 1.1)) / 1.1 ** len(size)


def idle_batches(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], batch_size: int) -> int:
    """How many whole batches of evaluations came after the last one that increased the hypervolume.

    A network increases it, whatever the reference point, when none before it is as good in all objectives. Networks
    are taken in the order of their numbers, so that the answer does not depend on which worker was faster.

    Args:
        trials: of a study.
        directions: of its objectives.
        batch_size: evaluations of a batch.
    """
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values, kept = _minimised(done, directions)
    known = len(done) - len(evaluated(trials))  # these come first
    front, last = values[:0], -1
    for index in np.flatnonzero(kept):
        if not (front <= values[index]).all(axis=1).any():
            front = np.concatenate([front[(front < values[index]).any(axis=1)], values[index : index + 1]])
            last = int(index) - known
    return (len(done) - known) // batch_size - (max(last, -1) // batch_size + 1)


def _minimised(done: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> tuple[Values, NDArray[np.bool_]]:
    """Values with signs that make less better, shape (n, objectives), and which of them may be on the front: they are of
    networks that saw all images, and keep all limits."""
    signs = np.array([1.0 if direction == StudyDirection.MINIMIZE else -1.0 for direction in directions])
    values = signs * np.array([trial.values for trial in done], dtype=float).reshape(-1, len(signs))
    kept = [is_complete(trial) and all(value <= 0 for value in trial.constraints.values()) for trial in done]
    return values, np.array(kept, dtype=bool)
