"""Searches that are evaluated on a real Ray cluster: whatever is lost, each network is in the record once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from ray_nodes import Nodes
from ray_recipes import SEARCH, begun, deadly_to_load, drive, go_on, on, synthetic, unloadable
from synthetic_search import kill, make_worker, synthetic_accuracy, wait_until

from latency_predictors.devices.transports import DeviceError
from nas.cli import main
from nas.pipeline import existing_stages
from nas.search import ray_evaluation
from nas.search.claims import attempts, failures
from nas.search.evaluation import Evaluator
from nas.search.journal import JournalStore
from nas.search.ray_evaluation import RayEvaluation, Recipe
from nas.search.storage import load
from nas.search.worker import Worker, evaluations
from search_spaces import SearchSpace

ray = pytest.importorskip("ray", reason="pip install 'nasmyth[ray]'")

#: What Ray adds to the priority of the processes of either node: it tells them apart, on one machine.
HEAD, OTHER = 1, 2


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes(HEAD, num_cpus=2)
    try:
        yield found
    finally:
        found.shut_down()


@pytest.fixture
def begin(nodes: Nodes, small: SearchSpace, tmp_path: Path) -> Any:
    """Makes a worker on the study in the test's folder, whose networks the cluster evaluates."""

    def begin(recipe: Recipe, cpus: int = 1, **more: Any) -> Worker:
        return make_worker(tmp_path, small, engine=RayEvaluation(recipe, cpus, nodes.address), **{**SEARCH, **more})

    return begin


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "begun"


def trials(folder: Path) -> list[FrozenTrial]:
    return load(JournalStore(folder / "study.journal")).get_trials(deepcopy=False)


def keys(folder: Path) -> list[str]:
    """Of the evaluated networks, in the order of their trials."""
    return [evaluation.architecture.key for evaluation in evaluations(load(JournalStore(folder / "study.journal")))]


def assert_evaluated(space: SearchSpace, folder: Path, count: int) -> None:
    """Each of so many networks is in the record once, with its own accuracy, and none is running."""
    states = [trial.state.name for trial in trials(folder)]
    assert states[:count] == ["COMPLETE"] * count
    assert set(states[count:]) <= {"WAITING"}
    found = evaluations(load(JournalStore(folder / "study.journal")))
    assert len({evaluation.architecture for evaluation in found}) == count
    accuracy = synthetic_accuracy(space)
    assert all(evaluation.metrics["accuracy"] == accuracy(evaluation.architecture) for evaluation in found)


def test_a_node_joins_and_is_removed_in_the_middle(
    nodes: Nodes, begin: Any, small: SearchSpace, tmp_path: Path, log: Path
) -> None:
    """With one attempt, a network would fail if the loss of the node were counted."""
    head, other = os.nice(0) + HEAD, os.nice(0) + OTHER
    joined: list[Any] = []

    def change(done: int, total: int, text: str) -> None:
        if not joined:
            joined.append(nodes.add(OTHER, num_cpus=1))
        if len(on(other, begun(log))) == 2 and not go_on(log).exists():  # it never comes to the end of the second one
            nodes.remove(joined[0])
            go_on(log).touch()

    begin(synthetic(log, stuck=other), attempts=1).run(16, change)
    assert_evaluated(small, tmp_path, 16)
    times = [line.key for line in begun(log)]
    assert sorted(set(times)) == sorted(keys(tmp_path))
    assert len(times) == 17
    assert times.count(on(other, begun(log))[1].key) == 2
    assert len({line.pid for line in on(head, begun(log))}) == 2
    assert {attempts(trial.user_attrs) for trial in trials(tmp_path)[:16]} == {1}


def test_networks_that_cannot_be_evaluated(begin: Any, small: SearchSpace, tmp_path: Path, log: Path) -> None:
    """One kills its process once, which may be bad luck, another one always, and a third one raises."""
    make_worker(tmp_path / "local", small, **SEARCH).run(4)
    _, once, always, bad = keys(tmp_path / "local")
    worker = begin(synthetic(log, deadly={once: 1, always: 1000}, bad=[bad]), attempts=2)
    worker.run(12)
    states = {trial.number: trial.state.name for trial in trials(tmp_path) if trial.state.name != "WAITING"}
    assert states == {number: "FAIL" if number in (2, 3) else "COMPLETE" for number in range(14)}
    assert len(set(keys(tmp_path))) == 12
    assert [attempts(trial.user_attrs) for trial in trials(tmp_path)[:5]] == [1, 2, 2, 2, 1]
    (_, killed), (_, raised) = failures(worker.study)
    assert killed.type == "ChildProcessError"
    assert killed.message.startswith(f"its Ray process on {socket.gethostname()} died: ")
    assert str(raised) == "RuntimeError: out of memory"  # as in this process
    times = [line.key for line in begun(log)]
    assert [times.count(key) for key in (once, always, bad)] == [2, 2, 2]
    assert len(times) == 11 + 3 * 2


def test_a_killed_driver_and_an_interrupted_one(
    nodes: Nodes, begin: Any, small: SearchSpace, tmp_path: Path, log: Path
) -> None:
    """What they were evaluating is taken up under its own number; to be interrupted is not counted as an attempt."""
    ray.shutdown()
    arguments = (tmp_path, nodes.address, synthetic(log, seconds=60), 6)
    process = multiprocessing.get_context("spawn").Process(target=drive, args=arguments, daemon=True)
    process.start()
    wait_until(lambda: len(begun(log)) == 2, seconds=60)
    kill(process)
    assert [trial.state.name for trial in trials(tmp_path)][:3] == ["RUNNING", "RUNNING", "WAITING"]

    def interrupt(done: int, total: int, text: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(synthetic(log, seconds=0.3), attempts=2).run(6, interrupt)
    running = [trial for trial in trials(tmp_path) if trial.state.name == "RUNNING"]
    assert [attempts(trial.user_attrs) for trial in running] == [0] * len(running) != []

    answer = signal.getsignal(signal.SIGTERM)  # Ray would put its own in place of it
    begin(synthetic(log), attempts=2).run(6)
    assert_evaluated(small, tmp_path, 6)
    assert [attempts(trial.user_attrs) for trial in trials(tmp_path)[:6]] == [2, 2, 1, 1, 1, 1]
    assert signal.getsignal(signal.SIGTERM) is answer
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (unloadable, r"^on the Ray node .*: there is nothing to evaluate with$"),
        (deadly_to_load, r"^2 Ray processes in a row were lost before they could evaluate"),
    ],
)
def test_processes_that_cannot_be_made_ready(
    begin: Any, tmp_path: Path, load: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_evaluation, "ATTEMPTS", 2)  # both at the same time
    with pytest.raises(DeviceError, match=message):
        begin(Recipe(load, {})).run(4)
    assert not trials(tmp_path)


def test_a_cluster_without_room(begin: Any, nodes: Nodes, tmp_path: Path, log: Path) -> None:
    with pytest.raises(DeviceError, match="no node of the Ray cluster has the CPUs of an evaluation") as caught:
        begin(synthetic(log), cpus=3).run(4)
    assert f"`ray start --address={nodes.address} --num-cpus=3`" in str(caught.value)
    assert not trials(tmp_path)


def test_without_a_cluster(small: SearchSpace, tmp_path: Path, log: Path) -> None:
    ray.shutdown()
    engine = RayEvaluation(synthetic(log), address="127.0.0.1:1")
    with pytest.raises(DeviceError, match="no Ray cluster can be reached: start one here with `ray start --head`"):
        make_worker(tmp_path, small, engine=engine, **SEARCH).run(4)


def test_a_finished_search_needs_no_cluster(small: SearchSpace, tmp_path: Path, log: Path) -> None:
    make_worker(tmp_path, small, **SEARCH).run(4)
    seen: list[int] = []
    engine = RayEvaluation(synthetic(log), address="127.0.0.1:1")
    make_worker(tmp_path, small, engine=engine, **SEARCH).run(4, lambda done, *_: seen.append(done))
    assert seen == [4]


def test_a_worker_of_a_run_finds_what_this_process_finds(
    nodes: Nodes, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Supernet and images are sent; no accuracy differs in any bit."""
    (copied / "study.journal").unlink()
    stages = existing_stages(copied)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: pytest.fail("evaluated in this process"))
    monkeypatch.setattr("sys.argv", ["nas", "worker", str(copied), "--engine", "ray"])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    monkeypatch.undo()
    found = stages.evaluations()
    assert len(found) == len({evaluation.architecture for evaluation in found}) == stages.config.search.evaluations
    local = [stages.evaluator.evaluate(evaluation.architecture) for evaluation in found]
    assert [evaluation.metrics["accuracy"] for evaluation in found] == local
    assert len(set(local)) > 3


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"ray is not installed: pip install 'nasmyth\[ray\]'"):
        RayEvaluation(synthetic(log))
