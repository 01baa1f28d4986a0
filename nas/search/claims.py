"""Which worker has which trial, how often each was begun, and why some came to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.search.store import Lease

WORKER, ATTEMPTS, FAILURE = "worker", "attempts", "failure"


@dataclass(frozen=True)
class Failure:
    """Why a network could not be evaluated.

    Attributes:
        type: name of the exception's class; empty when there was none.
        message: of the exception, or what happened.
    """

    type: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an exception means."""
        return cls(type(error).__name__, " ".join(str(error).split()))

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type else self.message


def attempts(attributes: Mapping[str, Any]) -> int:
    """How often the evaluation of a trial with these attributes was begun; the first time is not written down."""
    number: int = attributes.get(ATTEMPTS, int(WORKER in attributes))
    return number


@dataclass(frozen=True)
class Claims:
    """The running trials of a study as one worker sees them. All methods are for `Lease.exclusively`.

    A trial belongs to the worker that is named in it. When that one's lease is free the trial was interrupted, and
    is taken up again under its own number.

    Attributes:
        study: with the trials.
        lease: of the worker.
        limit: how often a trial is begun.
    """

    study: Study
    lease: Lease
    limit: int

    def interrupted(self, trials: Sequence[FrozenTrial], begun: Collection[int]) -> FrozenTrial | None:
        """One of the trials that nobody evaluates any more. Those that were begun too often are told to have failed.

        Args:
            trials: of the study, at least those that are running.
            begun: numbers of those that this worker evaluates.
        """
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.number not in begun and not self._is_evaluated(trial):
                if attempts(trial.user_attrs) < self.limit:
                    return trial
                times = f"in all {self.limit} attempts" if self.limit > 1 else "in the only attempt"
                self._fail(
                    Trial(self.study, trial._trial_id), Failure("", f"the worker was killed or interrupted {times}")
                )
        return None

    def _is_evaluated(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER)
        return worker is not None and worker != self.lease.worker and self.lease.is_held(worker)

    def begin(self, trial: Trial) -> FrozenTrial:
        """Count an attempt and put the worker's name into the trial, which is given as it was before."""
        stored = trial.storage.get_trial(trial._trial_id)  # what a `Trial` tells of itself are deep copies
        if WORKER in stored.user_attrs:
            trial.set_user_attr(ATTEMPTS, attempts(stored.user_attrs) + 1)
        trial.set_user_attr(WORKER, self.lease.worker)
        return stored

    def owned(self, trial: Trial) -> FrozenTrial | None:
        """The trial as it is now; `None` when this worker lost it to another one, or told it already."""
        stored = trial.storage.get_trial(trial._trial_id)
        own = stored.state == TrialState.RUNNING and stored.user_attrs.get(WORKER) == self.lease.worker
        return stored if own else None

    def give_back(self, trial: Trial) -> None:
        """Take back the attempt: its end is not the network's fault."""
        own = self.owned(trial)
        if own is not None:
            trial.set_user_attr(ATTEMPTS, attempts(own.user_attrs) - 1)

    def failed(self, trial: Trial, failure: Failure) -> None:
        """An attempt ended in an error; after the last one the trial is told to have failed."""
        own = self.owned(trial)
        if own is not None and attempts(own.user_attrs) >= self.limit:
            self._fail(trial, failure)

    def _fail(self, trial: Trial, failure: Failure) -> None:
        trial.set_user_attr(FAILURE, {"type": failure.type, "message": failure.message})
        self.study.tell(trial, state=TrialState.FAIL)


def failures(study: Study) -> list[tuple[int, Failure]]:
    """Numbers of the networks that could not be evaluated, with the reasons."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.FAIL])
    return [(trial.number, Failure(**trial.user_attrs[FAILURE])) for trial in trials if FAILURE in trial.user_attrs]


def summary(failed: Sequence[tuple[int, Failure]]) -> str:
    """How many failed and why, in one sentence."""
    reasons = Counter(str(failure) for _, failure in failed)
    parts = [f"{count} x {reason}" if count > 1 else reason for reason, count in reasons.most_common()]
    return f"{len(failed)} network{'s' * (len(failed) > 1)} could not be evaluated: {'; '.join(parts)}"
