"""The loop that evaluates trials. Any number of processes on one machine may run it on the same study."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.files import locked
from nas.progress import Advance
from nas.search.encoding import distributions, trial_codes
from nas.search.limits import Limit
from nas.search.metrics import Metric, record
from nas.search.queue import refill
from nas.search.samplers.batch import BatchSampler
from nas.search.samplers.unique import SpaceExhausted
from search_spaces import Architecture, SearchSpace

WORKER, ARCHITECTURE, METRICS, REASON = "worker", "architecture", "metrics", "reason"

#: How often a worker that has nothing left to begin looks after the trials of the others.
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Worker:
    """Takes trials one by one, evaluates them and tells the study.

    A worker holds a lock on a file of its own while it lives. A running trial whose worker's lock is free was
    interrupted, and is taken up again under its own number: nothing is lost and nothing evaluated twice.

    Attributes:
        study: with the sampler that proposes.
        space: of the architectures.
        objectives: in the order of the study's values.
        metrics: all that are recorded of every trial.
        limits: become constraints of every trial.
        evaluate: accuracy of an architecture, the expensive part.
        folder: for the locks, shared by all workers of the study.
    """

    study: Study
    space: SearchSpace
    objectives: Sequence[Metric]
    metrics: Sequence[Metric]
    limits: Sequence[Limit]
    evaluate: Callable[[Architecture], float]
    folder: Path

    def run(self, budget: int, progress: Advance | None = None) -> None:
        """Evaluate until the study has `budget` finished trials, or the space has no more to offer.

        At the end it waits for the trials that other workers run, and takes them up when those are killed.

        Args:
            budget: finished trials in all, those of other workers included.
            progress: called with the number of finished trials and the budget.

        Raises:
            FloatingPointError: when a metric of an architecture is not finite.
        """
        with locked(self._lock_of(os.getpid())):
            while True:
                if progress is not None:
                    progress(len(self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])), budget)
                with locked(self.folder / "ask.lock"):
                    trial = self._next(budget)
                if trial is not None:
                    self._evaluate(trial)
                elif self._running():
                    time.sleep(POLL_SECONDS)
                else:
                    return

    def _next(self, budget: int) -> Trial | None:
        interrupted = self._interrupted()
        if interrupted is not None:
            return self._take(Trial(self.study, interrupted._trial_id))
        trials = self.study.get_trials(deepcopy=False)
        exhausted = bool(trials) and REASON in trials[-1].user_attrs
        begun = sum(trial.state in (TrialState.COMPLETE, TrialState.RUNNING) for trial in trials)
        if exhausted or begun >= budget:
            return None
        if isinstance(self.study.sampler, BatchSampler):
            refill(self.study, self.study.sampler)
        return self._take(self.study.ask())

    def _take(self, trial: Trial) -> Trial | None:
        """Fix the architecture of a trial; `None` when there is no further one."""
        if trial.user_attrs.get(WORKER) != os.getpid():
            trial.set_user_attr(WORKER, os.getpid())
        wanted = distributions(self.space)
        try:
            if len(trial.params) < len(wanted):
                trial.relative_params  # noqa: B018 - samples; Optuna would not ask for choices with a single option
            for name, distribution in wanted.items():
                trial.suggest_categorical(name, distribution.choices)
        except SpaceExhausted as error:
            trial.set_user_attr(REASON, str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        return trial

    def _interrupted(self) -> FrozenTrial | None:
        return next((trial for trial in self._running() if not self._alive(trial.user_attrs.get(WORKER))), None)

    def _running(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])

    def _alive(self, worker: int | None) -> bool:
        if worker is None or worker == os.getpid():
            return False
        try:
            with locked(self._lock_of(worker), wait=False):
                return False
        except BlockingIOError:
            return True

    def _lock_of(self, worker: int) -> Path:
        return self.folder / f"worker-{worker}.lock"

    def _evaluate(self, trial: Trial) -> None:
        codes = trial_codes(self.space, trial.params)
        architecture = self.space.architectures(codes)[0]
        found = {"accuracy": self.evaluate(architecture), **record(self.metrics, codes)[0]}
        wrong = [name for name, value in found.items() if not math.isfinite(value)]
        if wrong:
            raise FloatingPointError(f"{wrong[0]} of {architecture.to_json()} is {found[wrong[0]]}")
        trial.set_user_attr(ARCHITECTURE, architecture.to_json())
        trial.set_user_attr(METRICS, found)
        for limit in self.limits:
            if str(limit) not in trial.constraints:
                trial.set_constraint(str(limit), limit.missed_by(found))
        self.study.tell(trial, [found[metric.name] for metric in self.objectives])


@dataclass(frozen=True)
class Evaluation:
    """A finished trial.

    Attributes:
        number: of the trial.
        architecture: that was evaluated.
        metrics: all that was recorded, by name.
        feasible: whether every limit is kept.
    """

    number: int
    architecture: Architecture
    metrics: dict[str, float]
    feasible: bool


def evaluations(study: Study) -> list[Evaluation]:
    """The finished trials of a study in the order of their numbers."""
    return [
        Evaluation(
            trial.number,
            Architecture.from_json(trial.user_attrs[ARCHITECTURE]),
            trial.user_attrs[METRICS],
            all(value <= 0 for value in trial.constraints.values()),
        )
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    ]
