"""The loop that evaluates trials. Any number of processes may run it on the same study."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.errors import CheckFailed
from nas.progress import Advance
from nas.search.claims import Claims, Failure
from nas.search.encoding import distributions, trial_codes
from nas.search.engines import EvaluationEngine, Interrupted, Outcome
from nas.search.fidelity import STOPPED, Bar, bar_of
from nas.search.limits import Limit
from nas.search.metrics import Metric, record
from nas.search.queue import ARCHITECTURE, PROPOSAL, refill
from nas.search.samplers.batch import BatchSampler
from nas.search.samplers.unique import SpaceExhausted, UniqueSampler
from nas.search.standing import Standings, Tally, idle_batches
from nas.search.store import StudyStore
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes

METRICS, REASON = "metrics", "reason"

#: How often a worker that has nothing left to begin looks after the trials of the others.
POLL_SECONDS = 0.2

#: After so many networks in a row of which none could be evaluated a worker gives up.
HOPELESS = 5


@dataclass(frozen=True)
class Begun:
    """A trial that is being evaluated.

    Attributes:
        trial: in the study.
        codes: of its network, canonical, shape (1, choices).
        architecture: of its network.
    """

    trial: Trial
    codes: Codes
    architecture: Architecture


@dataclass(frozen=True)
class Worker:
    """Takes trials, has them evaluated and tells the study.

    A worker holds a lease while it lives. A running trial whose worker's lease is free was interrupted, and is taken
    up again under its own number: nothing is lost and nothing is in the record twice.

    Attributes:
        study: with the sampler that proposes.
        space: of the architectures.
        objectives: in the order of the study's values.
        metrics: all that are recorded of every trial.
        limits: become constraints of every trial.
        engine: gives the evaluated metrics of architectures, the expensive part, for one or several at a time.
        store: that gives the leases, and holds the study.
        attempts: how often the evaluation of a network is begun before the network has failed.
        patience: batches without a gain of hypervolume after which the search ends; `None` for the budget alone.
        racing: whether each network is evaluated only as far as it can still enter the front, not on all images; its
            accuracy is then the only metric that is evaluated.
    """

    study: Study
    space: SearchSpace
    objectives: Sequence[Metric]
    metrics: Sequence[Metric]
    limits: Sequence[Limit]
    engine: EvaluationEngine
    store: StudyStore
    attempts: int = 3
    patience: int | None = None
    racing: bool = False

    def run(self, budget: int, progress: Advance | None = None) -> None:
        """Evaluate until the study has `budget` evaluated networks, or the space has no more to offer.

        At the end it waits for the trials that other workers run, and takes them up when those are killed.

        Args:
            budget: evaluated networks in all, those of other workers included and those of a warm start not.
            progress: called with the number of evaluated networks, the budget, and what the front holds.

        Raises:
            CheckFailed: when none of several networks in a row could be evaluated.
            ConnectionError: when the store is lost.
            ValueError: when the engine has no place for evaluations.
        """
        with self.store.lease(self.study.study_name) as lease, closing(self.engine):
            claims = Claims(self.study, lease, self.attempts)
            begun: dict[int, Begun] = {}
            try:
                self._run(claims, begun, budget, progress)
            except ConnectionError:
                raise  # the store is lost: there is nobody to give them back to
            except BaseException:
                for one in begun.values():
                    lease.exclusively(partial(claims.give_back, one.trial))
                raise

    def _run(self, claims: Claims, begun: dict[int, Begun], budget: int, progress: Advance | None) -> None:
        """Keep evaluations going as long as there are some to begin; `begun` are those that are not told, by number."""
        errors, standings, tally = 0, Standings(self.study.directions), Tally()
        while True:
            one, trials = claims.lease.exclusively(lambda: self._next(claims, begun, budget, tally))
            if one is not None:
                begun[one.trial.number] = one
                self.engine.begin(one.trial.number, one.architecture, self._bar(one.codes))
            if progress is not None:
                standing = standings.of(trials)
                progress(standing.evaluated, budget, str(standing))
            if one is None and not tally.running and self._ended(trials, tally, budget):
                return
            for number, outcome in self.engine.ended(POLL_SECONDS if one is None else 0.0):
                failure = self._tell_outcome(claims, begun[number], outcome)
                del begun[number]
                errors = errors + 1 if failure else 0
                if failure and errors >= HOPELESS * self.attempts:
                    raise CheckFailed(f"{HOPELESS} networks in a row could not be evaluated; the last one: {failure}")

    def _next(
        self, claims: Claims, begun: Collection[int], budget: int, tally: Tally
    ) -> tuple[Begun | None, list[FrozenTrial]]:
        """The trial to evaluate, if there is one and room for it, and all trials as they were before it was taken."""
        trials = self.study.get_trials(deepcopy=False)
        tally.count(trials)
        interrupted = claims.interrupted(tally.running, begun)
        if interrupted is None and self._ended(trials, tally, budget):
            return None, trials
        if not self.engine.room(max(1, budget - tally.evaluated - len(begun))):
            return None, trials
        if interrupted is not None:
            return self._take(claims, Trial(self.study, interrupted._trial_id)), trials
        if isinstance(self.study.sampler, BatchSampler):
            refill(self.study, self.study.sampler, trials)
        return self._take(claims, self.study.ask()), trials

    def _ended(self, trials: list[FrozenTrial], tally: Tally, budget: int) -> bool:
        """Whether no further trial is to be begun."""
        exhausted = bool(trials) and REASON in trials[-1].user_attrs
        if exhausted or tally.evaluated + len(tally.running) >= budget:
            return True
        sampler = self.study.sampler
        if self.patience is None or not isinstance(sampler, UniqueSampler):
            return False
        return idle_batches(trials, self.study.directions, sampler.batch_size) >= self.patience

    def _take(self, claims: Claims, trial: Trial) -> Begun | None:
        """Fix the architecture of a trial; `None` when there is no further one."""
        try:
            fixed = trial.storage.get_trial_params(trial._trial_id)
            if len(fixed) < len(self.space.choices):  # one of a batch has them from the beginning
                trial.relative_params  # noqa: B018 - samples; Optuna would not ask for choices with a single option
                for name, distribution in distributions(self.space).items():
                    trial.suggest_categorical(name, distribution.choices)
        except SpaceExhausted as error:
            trial.set_user_attr(REASON, str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        codes = trial_codes(self.space, claims.begin(trial).params)
        return Begun(trial, codes, self.space.architectures(codes)[0])

    def _tell_outcome(self, claims: Claims, one: Begun, outcome: Outcome) -> Failure | None:
        """Tell the study what an evaluation gave, also when that is nothing."""
        exclusively = claims.lease.exclusively
        try:
            found, attributes = self._found(one.codes, outcome)
        except Interrupted:
            exclusively(lambda: claims.give_back(one.trial))
            return None
        except Exception as error:
            failure = Failure.of(error)
            exclusively(lambda: claims.failed(one.trial, failure))
            return failure
        exclusively(lambda: self._tell(claims, one, found, attributes))
        return None

    def _found(self, codes: Codes, outcome: Outcome) -> tuple[dict[str, float], Mapping[str, Any]]:
        """All metrics of a trial's network, and further attributes of the trial.

        Raises:
            Interrupted: when its evaluation came to no end.
            FloatingPointError: when one is not finite.
        """
        finding = outcome()
        found = {**finding.metrics, **record(self.metrics, codes)[0]}
        wrong = [name for name, value in found.items() if not math.isfinite(value)]
        if wrong:
            raise FloatingPointError(f"{wrong[0]} is {found[wrong[0]]}")
        return found, finding.attributes

    def _bar(self, codes: Codes) -> Bar | None:
        """What the network must reach to enter the front, where evaluations are raced."""
        if not self.racing:
            return None
        cheap = record(self.metrics, codes)[0]
        return bar_of(self.study.get_trials(deepcopy=False), self.objectives, self.limits, cheap)

    def _tell(self, claims: Claims, one: Begun, found: dict[str, float], attributes: Mapping[str, Any]) -> None:
        trial, own = one.trial, claims.owned(one.trial)
        if own is None:
            return
        if ARCHITECTURE not in own.user_attrs:
            trial.set_user_attr(ARCHITECTURE, one.architecture.to_json())
        trial.set_user_attr(METRICS, found)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        for limit in self.limits:
            if str(limit) not in own.constraints:
                trial.set_constraint(str(limit), limit.missed_by(found))
        # `Study.tell` does this too, and then copies the trial with all its distributions, which takes longer.
        values = [found[metric.name] for metric in self.objectives]
        trial.storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, values)


@dataclass(frozen=True)
class Evaluation:
    """A finished trial.

    Attributes:
        number: of the trial.
        architecture: that was evaluated.
        metrics: all that was recorded, by name.
        feasible: whether every limit is kept.
        complete: whether its accuracy was found on all images; of others it is an estimate, and they are on no front.
        proposal: why it was evaluated, as its sampler said; empty when it said nothing.
    """

    number: int
    architecture: Architecture
    metrics: dict[str, float]
    feasible: bool
    complete: bool = True
    proposal: Mapping[str, Any] = field(default_factory=dict)


def evaluations(study: Study) -> list[Evaluation]:
    """The finished trials of a study in the order of their numbers."""
    return [
        Evaluation(
            trial.number,
            Architecture.from_json(trial.user_attrs[ARCHITECTURE]),
            trial.user_attrs[METRICS],
            all(value <= 0 for value in trial.constraints.values()),
            STOPPED not in trial.user_attrs,
            trial.user_attrs.get(PROPOSAL, {}),
        )
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    ]
