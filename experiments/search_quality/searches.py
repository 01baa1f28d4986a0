"""One search: through the study, the queue and the worker that users run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import TrialState

from experiments.search_quality.task import OfMany, Task, Values
from nas.progress import Advance
from nas.search.engines import LocalEvaluation
from nas.search.fidelity import Bar, Score
from nas.search.journal import JournalStore
from nas.search.limits import Limit
from nas.search.metrics import ACCURACY, Metric
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.storage import create_or_load
from nas.search.worker import Worker
from search_spaces import Architecture
from search_spaces.space import Codes


@dataclass(frozen=True)
class Plan:
    """How searches are run.

    Attributes:
        sampler: its name.
        options: of the sampler.
        budget: networks that are evaluated.
        region: the user's goal: accuracies less than so many points below the best; `None` when he states none.
        storage: of the study: `journal` (a file, as users have it) or `memory`.
    """

    sampler: str
    options: Mapping[str, Any]
    budget: int
    region: float | None = None
    storage: str = "journal"

    def limits(self, task: Task) -> list[Limit]:
        """The goal as a limit."""
        return [] if self.region is None else [Limit(ACCURACY.name, -1, task.best - self.region)]


@dataclass(frozen=True)
class Trace:
    """What a search did.

    Attributes:
        values: to be minimised, in the order of the evaluations, no network twice, shape (n, 2).
        candidates: networks of which it asked the cost, or whether they keep the limits.
        cpu_s: processor time of everything but the evaluations.
    """

    values: Values
    candidates: int
    cpu_s: float


class Counted:
    """A function of many candidates that counts them.

    Args:
        function: of codes.
    """

    def __init__(self, function: OfMany) -> None:
        self.function, self.rows = function, 0

    def __call__(self, codes: Codes) -> Values:
        """The function's values."""
        self.rows += len(codes)
        return self.function(codes)


class Evaluate:
    """Looks the accuracy of a network up, and keeps the time apart.

    Args:
        task: of the search.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.cpu_s = task, 0.0

    def __call__(self, architecture: Architecture, bar: Bar | None = None) -> Score:
        """Accuracy of one network."""
        start = time.process_time()
        accuracy = float(self.task.accuracy(self.task.space.codes([architecture]))[0])
        self.cpu_s += time.process_time() - start
        return Score(accuracy)


def search(task: Task, plan: Plan, seed: int, advance: Advance | None = None) -> Trace:
    """One search with a sampler of the product.

    Args:
        task: what is searched.
        plan: how.
        seed: of the sampler; nothing else decides the outcome.
        advance: called with the number of evaluated networks and the budget.

    Raises:
        UsageError: when there is no such sampler, or an option is wrong.
    """
    counted, evaluate, limits = Counted(task.cost), Evaluate(task), plan.limits(task)
    metrics = [replace(metric, values=metric.values and counted) for metric in task.objectives()]
    problem = Problem.of(task.space, metrics, metrics, limits)
    violation = Counted(problem.violation)
    start = time.process_time()
    sampler = make_sampler(plan.sampler, plan.options, replace(problem, violation=violation), seed)
    with tempfile.TemporaryDirectory(prefix="search_quality-") as folder:
        study = _STORAGES[plan.storage](Path(folder), metrics, sampler)
        locks = JournalStore(Path(folder) / "study.journal")
        Worker(study, task.space, metrics, metrics, limits, LocalEvaluation(evaluate), locks).run(plan.budget, advance)
        cpu_s = time.process_time() - start - evaluate.cpu_s
        values = _values(study)
    return Trace(values, max(counted.rows, violation.rows), cpu_s)


def _values(study: Study) -> Values:
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return np.array([trial.values for trial in trials]) * [-1.0, 1.0]


def _journal(folder: Path, metrics: list[Metric], sampler: BaseSampler) -> Study:
    return create_or_load(JournalStore(folder / "study.journal"), "study", metrics, {}, sampler)


def _memory(folder: Path, metrics: list[Metric], sampler: BaseSampler) -> Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=[metric.direction for metric in metrics], sampler=sampler)


_STORAGES: Mapping[str, Callable[[Path, list[Metric], BaseSampler], Study]] = {"journal": _journal, "memory": _memory}
STORAGES = tuple(_STORAGES)
