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


class Standings:
    """The standings of a study that grows: what finished is looked at once, it never changes.

    Args:
        directions: of the study.
    """

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._directions = directions
        self._known: dict[int, tuple[Values, bool, bool]] = {}

    def of(self, trials: Sequence[FrozenTrial]) -> Standing:
        """The standing of a study with these trials."""
        new = [i for i, t in enumerate(trials) if t.state == TrialState.COMPLETE and i not in self._known]
        values, kept = _minimised([trials[i] for i in new], self._directions)
        for i, row, may in zip(new, values, kept.tolist(), strict=True):
            self._known[i] = row, may, bool(evaluated([trials[i]]))
        if not self._known:
            return Standing(0, 0, 0.0)
        rows, mays, owns = zip(*self._known.values(), strict=True)
        values, kept = np.stack(rows), np.array(mays)
        front = values[kept][nondominated(values[kept])]
        share = 0.0
        if len(front):
            best, worst = values.min(axis=0), values.max(axis=0)
            size = np.where(worst > best, worst - best, 1.0)
            share = hypervolume((front - best) / size, np.full(len(best), 1.1)) / 1.1 ** len(best)
        return Standing(sum(owns), len(front), share)


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
