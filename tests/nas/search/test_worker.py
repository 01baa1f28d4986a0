"""The worker: however often it is killed, the study ends as if it had not been."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from synthetic_search import fork, kill, make_worker, on_all_images, synthetic_accuracy, trial_table, wait_until

from nas.search import worker as worker_module
from nas.search.encoding import trial_codes
from nas.search.engines import LocalEvaluation
from nas.search.journal import JournalFile, JournalStore
from nas.search.storage import load
from nas.search.worker import Worker, evaluations
from search_spaces import Architecture, SearchSpace

BUDGET = 20
LIMITS = ["macs_m <= 45 %", "accuracy >= 0.4"]


def table(folder: Path) -> list[tuple[object, ...]]:
    return [tuple(row) for row in trial_table(load(JournalStore(folder / "study.journal")))]


def states(folder: Path) -> list[str]:
    if not (folder / "study.journal").exists():
        return []
    return [trial.state.name for trial in load(JournalStore(folder / "study.journal")).get_trials(deepcopy=False)]


def assert_all_distinct(space: SearchSpace, folder: Path, count: int) -> None:
    trials = load(JournalStore(folder / "study.journal")).get_trials(deepcopy=False)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * count
    assert len({trial_codes(space, trial.params).tobytes() for trial in trials}) == count


@pytest.fixture
def undisturbed(tmp_path: Path, small: SearchSpace) -> list[tuple[object, ...]]:
    make_worker(tmp_path / "undisturbed", small, LIMITS).run(BUDGET)
    return table(tmp_path / "undisturbed")


#: Samplers that ask Optuna for each trial, and those that put batches into the study.
SAMPLERS: dict[str, dict[str, Any]] = {
    "nsga2": {"population": 6},
    "random": {"batch_size": 6},
    "screened": {"batch_size": 5, "initial": 5},
}


@pytest.fixture(params=SAMPLERS)
def begin(request: pytest.FixtureRequest, small: SearchSpace) -> Callable[..., Worker]:
    """Makes a worker with one of the samplers on the study in a folder."""

    def begin(folder: Path, evaluate: Callable[[Architecture], float] | None = None, **more: Any) -> Worker:
        options = {"sampler": request.param, "options": SAMPLERS[request.param], **more}
        return make_worker(folder, small, LIMITS, evaluate, **options)

    return begin


def die_evaluating(worker: Worker, after: int) -> Worker:
    """The same worker, killed in evaluation number `after`."""
    left, accuracy = iter(range(after)), synthetic_accuracy(worker.space)

    def evaluate(architecture: Architecture) -> float:
        if next(left, None) is None:
            os._exit(9)
        return accuracy(architecture)

    return replace(worker, engine=LocalEvaluation(on_all_images(evaluate)))


def die_writing(after: int, share: float) -> None:
    """Kill this process in write number `after` to the journal, when that share of the bytes is on disk."""
    left = iter(range(after))
    write = JournalFile.append_logs

    def append_logs(self: JournalFile, logs: list[dict[str, object]]) -> None:
        if next(left, None) is not None:
            return write(self, logs)
        path = Path(self._file_path)
        before = path.stat().st_size
        write(self, logs)
        os.truncate(path, before + round(share * (path.stat().st_size - before)))
        os._exit(9)

    JournalFile.append_logs = append_logs  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", range(2))
def test_killed_in_evaluations(tmp_path: Path, begin: Callable[..., Worker], seed: int) -> None:
    begin(tmp_path / "undisturbed").run(BUDGET)
    draw = random.Random(seed)
    exits = []
    while not exits or exits[-1] != 0:
        after = draw.randrange(1, 8)
        process = fork(lambda n=after: die_evaluating(begin(tmp_path), n).run(BUDGET))  # type: ignore[misc]
        process.join(60)
        exits.append(process.exitcode)
    assert exits.count(9) == len(exits) - 1 > 1
    assert table(tmp_path) == table(tmp_path / "undisturbed")


@pytest.mark.parametrize("seed", range(2))
def test_killed_in_writes(tmp_path: Path, begin: Callable[..., Worker], seed: int) -> None:
    begin(tmp_path / "undisturbed").run(BUDGET)
    writes = len((tmp_path / "undisturbed" / "study.journal").read_bytes().splitlines())
    draw = random.Random(100 + seed)
    exits = []

    def run(after: int, share: float) -> None:
        die_writing(after, share)
        begin(tmp_path).run(BUDGET)

    while not exits or exits[-1] != 0:
        chosen = draw.randrange(12, 12 + writes // 8), draw.choice([0.0, 0.5, 0.99, 1.0])
        process = fork(lambda c=chosen: run(*c))  # type: ignore[misc]
        process.join(60)
        exits.append(process.exitcode)
    assert exits.count(9) == len(exits) - 1 > 4
    assert table(tmp_path) == table(tmp_path / "undisturbed")


def test_killed_at_twenty_random_moments(tmp_path: Path, begin: Callable[..., Worker]) -> None:
    budget = 60
    begin(tmp_path / "undisturbed").run(budget)
    accuracy = synthetic_accuracy(begin(tmp_path / "undisturbed").space)

    def slowly(architecture: Architecture) -> float:
        time.sleep(0.02)
        return accuracy(architecture)

    draw = random.Random(7)
    for _ in range(20):
        victim = fork(lambda: begin(tmp_path, slowly, attempts=1000).run(budget))
        victim.join(draw.uniform(0.01, 0.1))
        kill(victim)  # which fails when it came to its end before
    begun = len(states(tmp_path))
    begin(tmp_path, attempts=1000).run(budget)
    assert 1 < begun < budget
    assert table(tmp_path) == table(tmp_path / "undisturbed")


def test_killed_in_each_of_the_first_writes(tmp_path: Path, tiny: SearchSpace) -> None:
    """Creating the study, asking, suggesting each choice, recording, telling: every one of them may be the last."""
    make_worker(tmp_path / "undisturbed", tiny).run(2)
    writes = len((tmp_path / "undisturbed" / "study.journal").read_bytes().splitlines())
    for after in range(writes):
        folder = tmp_path / str(after)

        def run(after: int = after, folder: Path = folder) -> None:
            die_writing(after, 0.5)
            make_worker(folder, tiny).run(2)

        process = fork(run)
        process.join(60)
        assert process.exitcode == 9
        make_worker(folder, tiny).run(2)
        assert table(folder) == table(tmp_path / "undisturbed")


def test_a_larger_budget_continues(tmp_path: Path, small: SearchSpace, undisturbed: list[tuple[object, ...]]) -> None:
    for budget in (7, 7, 3, BUDGET):
        make_worker(tmp_path, small, LIMITS).run(budget)
        assert len(table(tmp_path)) == max(7, budget)
    assert table(tmp_path) == undisturbed


def test_two_workers_share_the_budget(tmp_path: Path, small: SearchSpace) -> None:
    def slowly(architecture: Architecture) -> float:
        (tmp_path / f"by-{os.getpid()}").touch()
        time.sleep(0.02)
        return synthetic_accuracy(small)(architecture)

    make_worker(tmp_path, small)
    processes = [fork(lambda: make_worker(tmp_path, small, evaluate=slowly).run(BUDGET)) for _ in range(2)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert_all_distinct(small, tmp_path, BUDGET)
    assert len(list(tmp_path.glob("by-*"))) == 2


def test_one_of_two_workers_is_killed(tmp_path: Path, small: SearchSpace) -> None:
    def slowly(architecture: Architecture) -> float:
        time.sleep(0.05)
        return synthetic_accuracy(small)(architecture)

    make_worker(tmp_path, small)
    victim, other = (fork(lambda: make_worker(tmp_path, small, evaluate=slowly).run(BUDGET)) for _ in range(2))
    wait_until(lambda: states(tmp_path).count("COMPLETE") >= 4)
    kill(victim)
    other.join(60)
    assert other.exitcode == 0
    assert_all_distinct(small, tmp_path, BUDGET)


def test_the_last_trial_of_a_killed_worker_is_taken_up(tmp_path: Path, small: SearchSpace) -> None:
    """The other one has nothing left to begin when the first is killed in its only trial."""

    def hang(architecture: Architecture) -> float:
        (tmp_path / "hangs").touch()
        time.sleep(60)
        return 0.0

    make_worker(tmp_path, small)
    victim = fork(lambda: make_worker(tmp_path, small, evaluate=hang).run(5))
    wait_until((tmp_path / "hangs").exists)
    other = fork(lambda: make_worker(tmp_path, small).run(5))
    wait_until(lambda: states(tmp_path) == ["RUNNING", *["COMPLETE"] * 4])
    time.sleep(2 * worker_module.POLL_SECONDS)
    assert other.is_alive()
    assert states(tmp_path)[0] == "RUNNING"
    kill(victim)
    other.join(20)
    assert other.exitcode == 0
    assert_all_distinct(small, tmp_path, 5)


def test_what_is_recorded(tmp_path: Path, small: SearchSpace) -> None:
    seen: list[tuple[int, int]] = []
    worker = make_worker(tmp_path, small, LIMITS)
    worker.run(BUDGET, lambda done, total, text: seen.append((done, total)))
    assert seen == [(done, BUDGET) for done in range(BUDGET + 1)]
    accuracy = synthetic_accuracy(small)
    cost_limit = worker.limits[0].value
    found = evaluations(load(JournalStore(tmp_path / "study.journal")))
    assert [evaluation.number for evaluation in found] == list(range(BUDGET))
    for evaluation, trial in zip(found, worker.study.get_trials(), strict=True):
        codes = small.codes([evaluation.architecture])
        macs = small.macs(codes)[0] / 1e6
        assert evaluation.architecture.values == trial.params
        assert trial.values == [evaluation.metrics["accuracy"], evaluation.metrics["macs_m"]]
        assert evaluation.metrics["accuracy"] == accuracy(evaluation.architecture)
        assert evaluation.metrics["macs_m"] == pytest.approx(macs)
        assert evaluation.metrics["parameters_m"] == pytest.approx(small.parameters(codes)[0] / 1e6)
        assert evaluation.feasible == (accuracy(evaluation.architecture) >= 0.4 and macs <= cost_limit)
    assert {evaluation.feasible for evaluation in found} == {True, False}


def test_optuna_sees_the_constraints(tmp_path: Path, small: SearchSpace) -> None:
    """NSGA-II prefers feasible parents: later generations keep the limit on the expensive metric more often."""
    worker = make_worker(tmp_path, small, ["accuracy >= 0.7"])
    worker.run(60)
    kept = np.array([e.feasible for e in evaluations(worker.study)])
    assert [trial.state for trial in worker.study.get_trials()] == [TrialState.COMPLETE] * 60
    assert kept[30:].mean() > kept[:12].mean()
