"""The study of a run: what it is made with, what it begins with, and what is told of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.errors import UsageError
from nas.files import write_json
from nas.runs import Run
from nas.search import engines
from nas.search.claims import failures, summary
from nas.search.encoding import distributions
from nas.search.fidelity import HITS, Race
from nas.search.fidelity import summary as stopped_summary
from nas.search.metrics import ACCURACY, record
from nas.search.problem import Problem
from nas.search.queue import ARCHITECTURE, propose_first
from nas.search.samplers import make_sampler
from nas.search.samplers.unique import UniqueSampler
from nas.search.standing import evaluated
from nas.search.storage import IDENTITY, create_or_load, load
from nas.search.warm_start import WARM_START, check_same_supernet, take_over
from nas.search.worker import METRICS, REASON, Worker
from search_spaces import Architecture

if TYPE_CHECKING:
    from nas.stages import Stages


def check_search(stages: Stages) -> None:
    """Say before any long work that the study cannot be opened, or that there is no run to begin with.

    Raises:
        UsageError: when a key of the configuration is wrong.
        ConnectionError: when the database cannot be reached.
    """
    _check_evaluation(stages)
    if not stages.searched and stages.config.search.warm_start is not None:
        _source(stages)


def _check_evaluation(stages: Stages) -> None:
    """Refuse what is for the accuracy of images alone, where something else is evaluated, and what cannot be sent."""
    if stages.config.engine == "ray" and stages.task_given:
        from nas.search.sending import check_sendable  # what other engines do without

        check_sendable(type(stages.task))
    names = [metric.name for metric in stages.evaluated]
    if names == [ACCURACY.name]:
        return
    if stages.config.search.stopping_risk is not None:
        raise UsageError(
            f"search.stopping_risk ends evaluations early by which images are classified correctly; this task evaluates "
            f"{' and '.join(names)}: set it to null"
        )


def make_worker(stages: Stages) -> Worker:
    """A process that evaluates trials of the run's study, which is made when it is not there.

    Raises:
        UsageError: when there is no trained supernet, or the study was made for something else.
    """
    _check_evaluation(stages)
    config = stages.config.search
    race = None if config.stopping_risk is None else Race(risk=config.stopping_risk)
    # Before a study is made: without a trained supernet there is no search.
    engine = engines.make(stages.config.engine, stages.judge, stages.config.threads, race)
    problem = Problem.of(stages.space, stages.objectives, stages.metrics, stages.limits)
    sampler = make_sampler(config.sampler.name, config.sampler.options, problem, _sampler_seed(stages))
    identity = _identity(stages)
    warm = _WarmStart(stages, sampler, identity) if config.warm_start is not None else None
    if warm is not None and not stages.searched:
        warm.source()  # what is wrong with it is said before a study is made
    study = create_or_load(stages.store, stages.config.name, stages.objectives, identity, sampler)
    if config.storage is not None and not stages.run.study_file.exists():  # workers need not be able to write there
        write_json(stages.run.study_file, {"storage": str(stages.store), "study": study.study_name})
    if warm is not None:
        warm.begin(study)
    _propose_chosen(stages, study, problem)
    return Worker(
        study,
        stages.space,
        stages.objectives,
        stages.metrics,
        stages.limits,
        engine,
        stages.store,
        config.attempts,
        config.patience,
        race is not None,
    )


def _propose_chosen(stages: Stages, study: Study, problem: Problem) -> None:
    """Let the search begin with the networks that the training of the supernet chose, if it chose some."""
    chosen = stages.run.training().get("chosen")
    if chosen is None:
        return
    codes = stages.space.codes([Architecture(stages.space.name, tuple(values.items())) for values in chosen])
    codes = codes[problem.violation(codes) <= 0]
    strategy = stages.config.training.strategy.name
    with stages.store.lease(study.study_name) as lease:
        lease.exclusively(lambda: propose_first(study, stages.space, codes, {"source": strategy}))


def say_outcome(stages: Stages, study: Study) -> None:
    """Tell a person why a search ended early, and which networks could not be evaluated."""
    config = stages.config.search
    trials, failed = study.get_trials(deepcopy=False), failures(study)
    found = len(evaluated(trials))
    if stopped := stopped_summary(evaluated(trials)):
        stages.reporter.say(stopped)
    if failed:
        stages.reporter.say(summary(failed))
    if found < config.evaluations:
        exhausted = [trial.user_attrs[REASON] for trial in trials if REASON in trial.user_attrs]
        idle = f"{config.patience} batches brought no gain of hypervolume (search.patience)"
        stages.reporter.say(f"the search ended after {found} networks: {exhausted[0] if exhausted else idle}")


def _identity(stages: Stages) -> dict[str, Any]:
    """What a study was made for, as JSON values."""
    config = stages.config
    return {
        "space": stages.space.name,
        "space options": plain(stages.space.options),
        "space fingerprint": stages.space.fingerprint,
        "data": stages.task.fingerprint,
        "weights": _digest(stages.run.weights_file),
        "evaluation": {"seed": config.seed, "recalibration images": config.search.recalibration_images},
        "objectives": [[m.name, m.direction, m.unit] for m in stages.objectives],
        "limits": [str(limit) for limit in stages.limits],
        "sampler": plain(config.search.sampler.model_dump()),
        "stopping risk": config.search.stopping_risk,
        "seed": _sampler_seed(stages),
    }


def _sampler_seed(stages: Stages) -> int:
    seed = stages.config.search.seed
    return stages.config.seed if seed is None else seed


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _source(stages: Stages) -> Study:
    """The study of the run that is named by `search.warm_start`.

    Raises:
        UsageError: when there is none.
    """
    from nas.stages import Stages as Other

    try:
        other = Other(*Run.existing(Path(str(stages.config.search.warm_start))))
        return load(other.store, other.config.name)
    except UsageError as error:
        raise UsageError(f"search.warm_start: {error}") from error


@dataclass(frozen=True)
class _WarmStart:
    """What a study begins with."""

    stages: Stages
    sampler: UniqueSampler
    identity: dict[str, Any]

    @property
    def run(self) -> str:
        return str(self.stages.config.search.warm_start)

    def source(self) -> Study:
        """The study of the other run, which has the same supernet."""
        study = _source(self.stages)
        check_same_supernet(self.run, study.user_attrs.get(IDENTITY, {}), self.identity)
        return study

    def begin(self, study: Study) -> None:
        """Add what the other run evaluated, unless it is there already."""
        with self.stages.store.lease(study.study_name) as lease:
            added = lease.exclusively(lambda: take_over(study, self.run, self.source, self._known))
        if added:
            self.stages.reporter.say(f"warm start: {added} evaluated networks of {self.run}")

    def _known(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial of the other run as one of this run, with the cheap metrics of this run's devices."""
        stages = self.stages
        architecture = Architecture.from_json(trial.user_attrs[ARCHITECTURE])
        cheap = record(stages.metrics, stages.space.codes([architecture]))[0]
        evaluated = {metric.name: trial.user_attrs[METRICS][metric.name] for metric in stages.evaluated}
        found = {**evaluated, **cheap}
        return create_trial(
            state=TrialState.COMPLETE,
            params=architecture.values,
            distributions=dict(distributions(stages.space)),
            values=[found[metric.name] for metric in stages.objectives],
            constraints={str(limit): limit.missed_by(found) for limit in stages.limits},
            user_attrs={
                ARCHITECTURE: architecture.to_json(),
                METRICS: found,
                WARM_START: {"run": self.run, "trial": trial.number},
                **{name: value for name, value in trial.user_attrs.items() if name == HITS},
            },
            system_attrs=self.sampler.known_attributes(),
        )


def plain(value: Any) -> Any:
    """Tuples as the lists that come back from JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
