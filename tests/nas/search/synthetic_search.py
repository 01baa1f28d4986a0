"""A search whose evaluations cost nothing, and child processes that can be killed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from optuna.study import Study

import search_spaces
from nas.search.engines import LocalEvaluation
from nas.search.fidelity import Bar, Score
from nas.search.journal import JournalStore
from nas.search.limits import parse_all
from nas.search.metrics import ACCURACY, Metric, cheap_metrics
from nas.search.problem import Problem
from nas.search.samplers import make_sampler
from nas.search.storage import create_or_load
from nas.search.store import StudyStore
from nas.search.worker import Worker
from search_spaces import Architecture, SearchSpace

Evaluate = Callable[[Architecture], float]
TrialRow = tuple[int, str, dict[str, Any], list[float] | None, dict[str, float]]


def small_space() -> SearchSpace:
    """Far more architectures than any test evaluates."""
    return search_spaces.get(
        "convnet",
        resolutions=[8],
        in_channels=1,
        stem=8,
        widths=[[12, 16], [16, 24]],
        strides=[1, 2],
        depths=[[1, 2], [1, 2]],
        group_width=4,
        head=32,
    )


def tiny_space() -> SearchSpace:
    """2 widths x (2 architectures of one block + 4 of two) = 12 architectures."""
    return search_spaces.get(
        "convnet",
        resolutions=[8],
        in_channels=1,
        stem=8,
        widths=[[12, 16]],
        strides=[1],
        depths=[[1, 2]],
        blocks=["fused"],
        kernels=[3],
        expansions=[2, 3],
        group_width=4,
        head=16,
    )


def synthetic_accuracy(space: SearchSpace) -> Evaluate:
    """Grows with the cost, and depends on the kinds of block, so that there is something to find."""
    largest = float(space.macs(space.codes([space.largest()]))[0])

    def accuracy(architecture: Architecture) -> float:
        cost = float(space.macs(space.codes([architecture]))[0]) / largest
        active = space.active(space.codes([architecture]))[0]
        kinds = [v for (n, v), a in zip(architecture.items, active, strict=True) if a and n.endswith("_kind")]
        good = sum(kind == ("grouped" if i % 2 else "mbconv") for i, kind in enumerate(kinds)) / max(1, len(kinds))
        return float(1 - np.exp(-3 * cost)) * 0.6 + 0.4 * good

    return accuracy


def make_worker(
    folder: Path,
    space: SearchSpace,
    limits: Sequence[str] = (),
    evaluate: Evaluate | None = None,
    sampler: str = "nsga2",
    options: Mapping[str, Any] = MappingProxyType({"population": 6}),
    seed: int = 0,
    identity: dict[str, Any] | None = None,
    store: StudyStore | None = None,
    race: Callable[[Architecture, Bar], Score] | None = None,
    **more: Any,
) -> Worker:
    """A worker on the study in `folder`, or `store`; everything in it is read from there."""
    metrics = [ACCURACY, *cheap_metrics(space, {})]
    parsed = parse_all(limits, metrics, space)
    objectives = objectives_of(metrics)
    made = make_sampler(sampler, options, Problem.of(space, objectives, metrics, parsed), seed)
    store = store or JournalStore(folder / "study.journal")
    study = create_or_load(store, "study", objectives, identity or {"seed": seed}, made)
    if race is None:
        more.setdefault("engine", LocalEvaluation(on_all_images(evaluate or synthetic_accuracy(space))))
    else:
        more |= {"engine": LocalEvaluation(lambda architecture, bar: race(architecture, bar or Bar())), "racing": True}
    return Worker(study, space, objectives, metrics, parsed, store=store, **more)


def on_all_images(evaluate: Evaluate) -> Callable[[Architecture, Bar | None], Score]:
    """What an engine calls, of what gives an accuracy."""
    return lambda architecture, bar: Score(evaluate(architecture))


def objectives_of(metrics: Sequence[Metric]) -> list[Metric]:
    """Accuracy against MACs."""
    return [metric for metric in metrics if metric.name in ("accuracy", "macs_m")]


def trial_table(study: Study) -> list[TrialRow]:
    """All that a resumed search must repeat exactly."""
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.constraints)
        for trial in study.get_trials(deepcopy=False)
    ]


def fork(target: Callable[[], None]) -> BaseProcess:
    """Start `target` in a process of its own, whose garbage collector leaves alone what this one had made.

    There may be runtimes of other tests among it, whose threads are not in the new process, so that freeing them crashes.
    """
    process = multiprocessing.get_context("fork").Process(target=target, daemon=True)
    gc.freeze()
    process.start()
    gc.unfreeze()
    return process


def kill(process: BaseProcess) -> None:
    """SIGKILL, and wait until the process is gone."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Raise when `condition` does not become true in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
