"""Evaluations that come to nothing: tried again, then left out, and told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from synthetic_search import fork, kill, make_worker, synthetic_accuracy, trial_table, wait_until

from nas.errors import CheckFailed
from nas.search.claims import ATTEMPTS, FAILURE, WORKER, Failure, failures, summary
from nas.search.encoding import trial_codes
from nas.search.journal import JournalStore
from nas.search.storage import load
from nas.search.worker import HOPELESS, Worker
from search_spaces import Architecture, SearchSpace

Evaluate = Callable[[Architecture], float]


def begin(folder: Path, space: SearchSpace, evaluate: Evaluate | None = None, **more: Any) -> Worker:
    return make_worker(folder, space, evaluate=evaluate, sampler="random", options={"batch_size": 4}, **more)


def failing(space: SearchSpace, times: int, at: int = 3) -> tuple[Evaluate, list[Architecture]]:
    """The network that is the `at`-th one to be evaluated fails `times` times; also all that were evaluated."""
    calls: list[Architecture] = []

    def evaluate(architecture: Architecture) -> float:
        calls.append(architecture)
        if len(calls) >= at and architecture == calls[at - 1] and calls.count(architecture) <= times:
            raise RuntimeError("out of\nmemory")
        return synthetic_accuracy(space)(architecture)

    return evaluate, calls


@pytest.mark.parametrize("times", [1, 2])
def test_an_error_is_tried_again(tmp_path: Path, small: SearchSpace, times: int) -> None:
    undisturbed = begin(tmp_path / "undisturbed", small)
    undisturbed.run(6)
    evaluate, calls = failing(small, times)
    worker = begin(tmp_path / "failing", small, evaluate)
    worker.run(6)
    assert len(calls) == 6 + times
    assert calls[2 : 3 + times] == [calls[2]] * (1 + times)
    assert trial_table(worker.study) == trial_table(undisturbed.study)
    assert failures(worker.study) == []


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_network_that_always_fails_is_left_out(tmp_path: Path, small: SearchSpace, attempts: int) -> None:
    evaluate, calls = failing(small, 1000)
    worker = begin(tmp_path, small, evaluate, attempts=attempts)
    worker.run(10)
    trials = worker.study.get_trials(deepcopy=False)
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [2]
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 10  # it costs nothing of the budget
    assert calls.count(calls[2]) == attempts
    assert len({trial_codes(small, trial.params).tobytes() for trial in trials}) == len(trials)
    assert trials[2].user_attrs[FAILURE] == {"type": "RuntimeError", "message": "out of memory"}
    assert failures(load(JournalStore(tmp_path / "study.journal"))) == [(2, Failure("RuntimeError", "out of memory"))]


def test_what_is_told_of_failures() -> None:
    memory, killed = Failure("RuntimeError", "out of memory"), Failure("", "the worker was killed")
    assert summary([(2, memory)]) == "1 network could not be evaluated: RuntimeError: out of memory"
    assert summary([(2, killed), (3, memory), (5, memory)]) == (
        "3 networks could not be evaluated: 2 x RuntimeError: out of memory; the worker was killed"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_not_finite_is_a_failure(tmp_path: Path, small: SearchSpace, value: float) -> None:
    seen: list[Architecture] = []

    def evaluate(architecture: Architecture) -> float:
        seen.append(architecture)
        return value if architecture == seen[1 if len(seen) > 1 else 0] and len(seen) > 1 else 0.5

    worker = begin(tmp_path, small, evaluate)
    worker.run(4)
    assert failures(worker.study) == [(1, Failure("FloatingPointError", f"accuracy is {value}"))]
    complete = worker.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    assert [trial.values[0] for trial in complete] == [0.5] * 4


def test_a_hopeless_search_stops(tmp_path: Path, small: SearchSpace) -> None:
    calls: list[Architecture] = []

    def fail(architecture: Architecture) -> float:
        calls.append(architecture)
        raise OSError("the disk is gone")

    worker = begin(tmp_path, small, fail)
    with pytest.raises(CheckFailed, match=r"5 networks in a row could not be evaluated.*OSError: the disk is gone"):
        worker.run(100)
    assert len(calls) == 3 * HOPELESS
    assert len(set(calls)) == HOPELESS
    begin(tmp_path, small).run(8)  # the disk is back
    states = [trial.state.name for trial in load(JournalStore(tmp_path / "study.journal")).get_trials()]
    assert states[: HOPELESS + 8] == ["FAIL"] * HOPELESS + ["COMPLETE"] * 8


def test_failures_here_and_there_do_not_stop_a_search(tmp_path: Path, small: SearchSpace) -> None:
    calls: list[Architecture] = []

    def fail_often(architecture: Architecture) -> float:
        calls.append(architecture)
        if len(calls) % HOPELESS:
            raise RuntimeError("bad luck")
        return 0.5

    worker = begin(tmp_path, small, fail_often, attempts=1)
    worker.run(3)
    assert len(failures(worker.study)) == 3 * (HOPELESS - 1)


def test_a_network_that_kills_its_workers_is_left_out(tmp_path: Path, small: SearchSpace) -> None:
    deadly = begin(tmp_path / "undisturbed", small)
    deadly.run(4)
    params = deadly.study.trials[2].params

    def evaluate(architecture: Architecture) -> float:
        if architecture.values == params:
            os._exit(9)
        return 0.5

    exits = []
    while not exits or exits[-1] == 9:
        process = fork(lambda: begin(tmp_path / "deadly", small, evaluate).run(8))
        process.join(60)
        exits.append(process.exitcode)
    assert exits == [9, 9, 9, 0]
    ((number, failure),) = failures(load(JournalStore(tmp_path / "deadly" / "study.journal")))
    assert number == 2
    assert str(failure) == "the worker was killed or interrupted in all 3 attempts"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_not_the_networks_fault(
    tmp_path: Path, small: SearchSpace, end: type[BaseException]
) -> None:
    def interrupt(architecture: Architecture) -> float:
        raise end

    for _ in range(5):  # more often than there are attempts
        with pytest.raises(end):
            begin(tmp_path, small, interrupt, attempts=2).run(4)
        (trial, *_) = load(JournalStore(tmp_path / "study.journal")).get_trials()
        assert (trial.state.name, trial.user_attrs[ATTEMPTS]) == ("RUNNING", 0)
    assert not list((tmp_path / "locks").glob("worker-*"))
    worker = begin(tmp_path, small)
    worker.run(4)
    assert failures(worker.study) == []


def test_sigterm_gives_the_trial_to_the_others_at_once(tmp_path: Path, small: SearchSpace) -> None:
    def hang(architecture: Architecture) -> float:
        (tmp_path / "hangs").touch()
        time.sleep(60)
        return 0.0

    def terminable() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        begin(tmp_path, small, hang).run(5)

    begin(tmp_path, small)
    victim = fork(terminable)
    wait_until((tmp_path / "hangs").exists)
    other = fork(lambda: begin(tmp_path, small).run(5))
    wait_until(lambda: sum(row[1] == "COMPLETE" for row in rows(tmp_path)) == 4)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGTERM)
    victim.join(5)
    assert victim.exitcode == 143
    other.join(10)
    assert [row[1] for row in rows(tmp_path)[:5]] == ["COMPLETE"] * 5


def rows(folder: Path) -> list[Any]:
    return trial_table(load(JournalStore(folder / "study.journal")))


def test_a_worker_that_lost_its_trial_does_not_tell_it(tmp_path: Path, small: SearchSpace) -> None:
    """Somebody removes its lock in an evaluation, so that another worker takes that up and comes to its end first."""

    def lose(architecture: Architecture) -> float:
        if len(rows(tmp_path)) and sum(row[1] == "COMPLETE" for row in rows(tmp_path)) == 2:
            for lock in (tmp_path / "locks").glob("worker-*"):
                lock.unlink()
            begin(tmp_path, small).run(3)
            return 0.123
        return synthetic_accuracy(small)(architecture)

    begin(tmp_path, small, lose).run(3)
    trials = load(JournalStore(tmp_path / "study.journal")).get_trials()
    assert [trial.state.name for trial in trials] == [*["COMPLETE"] * 3, "WAITING"]
    assert 0.123 not in [trial.values[0] for trial in trials[:3]]
    assert trials[0].user_attrs[WORKER] == trials[1].user_attrs[WORKER] != trials[2].user_attrs[WORKER]


def test_locks_of_killed_workers_are_cleared_away(tmp_path: Path, small: SearchSpace) -> None:
    def hang(architecture: Architecture) -> float:
        (tmp_path / "hangs").touch()
        time.sleep(60)
        return 0.0

    victim = fork(lambda: begin(tmp_path, small, hang).run(3))
    wait_until((tmp_path / "hangs").exists)
    kill(victim)
    assert len(list((tmp_path / "locks").glob("worker-*"))) == 1
    begin(tmp_path, small).run(3)
    assert not list((tmp_path / "locks").glob("worker-*"))
