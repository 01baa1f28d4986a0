"""Several processes on one run."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_commands import TINY, Command, Start

from nas.config import load as load_config
from nas.files import write_text
from nas.search.claims import attempts
from nas.search.journal import JournalStore
from nas.search.storage import load

BUDGET = 150


def wait_for(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_worker_helps_and_second_run_is_refused(copied: Path, command: Command, start: Start) -> None:
    arguments = (TINY, "--set", f"directory={copied}", "--set", f"search.evaluations={BUDGET}")
    first = start("search", *arguments)
    journal = copied / "study.journal"
    known = journal.stat().st_size
    wait_for(lambda: journal.stat().st_size > known + 2000)

    refused = command("run", *arguments)
    assert refused.code == 2
    assert "another process is at work" in refused.err
    assert first.poll() is None
    helped = command("worker", copied)
    assert helped.code == 0, helped.err
    assert first.wait(60) == 0

    trials = load(JournalStore(journal)).get_trials()
    assert [trial.number for trial in trials] == list(range(BUDGET))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert len({json.dumps(trial.params) for trial in trials}) == BUDGET
    by_worker = [trial.user_attrs["worker"] for trial in trials[12:]]
    assert len(set(by_worker)) == 2
    assert min(by_worker.count(worker) for worker in set(by_worker)) > 5


def test_sigterm_ends_a_worker_that_goes_on_later(copied: Path, start: Start) -> None:
    """It begins the study, too: nobody else does."""
    (copied / "study.journal").unlink()
    settings = (f"directory={copied}", f"search.evaluations={BUDGET}")
    write_text(copied / "config.yaml", load_config(TINY, settings).to_yaml())
    process = start("worker", copied)
    journal = copied / "study.journal"
    wait_for(lambda: journal.exists() and journal.read_text().count('"worker"') > 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    said = (journal.parents[1] / "output-0").read_text().splitlines()
    assert said[-1] == "terminated; the same command goes on from here"
    trials = load(JournalStore(journal)).get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state.name == "RUNNING"]
    assert len(running) <= 1
    assert all(attempts(trial.user_attrs) <= 1 for trial in running)  # 1 when it was between two evaluations
    assert not list((copied / "locks").glob("worker-*"))
    assert len(trials) < BUDGET


def test_dashboard_shows_the_study(copied: Path, start: Start) -> None:
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start("dashboard", copied, "--port", str(port))
    answers: list[str] = []

    def answered() -> bool:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as response:
                answers.append(response.read().decode())
        except OSError:
            return False
        return True

    wait_for(answered)
    (study,) = json.loads(answers[0])["study_summaries"]
    assert study["study_name"] == "tiny"
    assert study["directions"] == ["maximize", "minimize"]
