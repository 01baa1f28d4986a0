"""A run that is killed goes on where it stopped, and finds what an undisturbed one finds."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).with_name("tiny.yaml")
COMMAND = ["run", str(TINY), "--json", "--set", "training.epochs=4", "--set", "training.checkpoint_seconds=0.2"]
RUN = Path("runs") / "tiny"
DEADLINE = 120.0

# Each process is a fresh one, in which only the imports are already made: they take longer than a tiny run.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["nas.pipeline", "nas.report.html", "onnxscript", "sympy", "torch.onnx.ops"])


def _nas(folder: str) -> None:
    from nas.cli import main

    os.chdir(folder)
    os.environ["NASMYTH_HOME"] = f"{folder}/home"
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    sys.argv = ["nas", *COMMAND]
    main()


def begin(folder: Path) -> BaseProcess:
    (folder / "stderr").unlink(missing_ok=True)
    process = PROCESSES.Process(target=_nas, args=(str(folder),))
    process.start()
    return process


def finish(process: BaseProcess) -> int | None:
    process.join(DEADLINE)
    if process.is_alive():
        process.kill()
        pytest.fail("the command does not end")
    return process.exitcode


def wait_until(reached: Callable[[], bool], process: BaseProcess) -> None:
    end = time.monotonic() + DEADLINE
    while not reached():
        assert process.is_alive(), "the command ended before the stage was seen"
        assert time.monotonic() < end, "the stage was not reached"
        time.sleep(0.001)


def outcome(folder: Path) -> dict[str, Any]:
    """The front that the command printed, and all trials of the study."""
    from nas.search.journal import JournalStore
    from nas.search.storage import load

    printed = json.loads((folder / "stdout").read_text().splitlines()[-1])
    trials = [
        (trial.number, trial.state.name, trial.params, trial.values, trial.constraints, trial.user_attrs["metrics"])
        for trial in load(JournalStore(folder / RUN / "study.journal")).get_trials()
    ]
    return {"front": printed["front"], "trials": trials}


def said(folder: Path, text: str) -> bool:
    file = folder / "stderr"
    return file.exists() and text in file.read_text()


def taken_trials(folder: Path) -> int:
    """Trials that a worker has begun; a moment later the last one is being evaluated."""
    file = folder / RUN / "study.journal"
    return file.read_text().count('"worker"') if file.exists() else 0


#: By stage: whether it is going on, and the first file that it would leave.
STAGES: dict[str, tuple[Callable[[Path], bool], str]] = {
    "calibrate": (lambda folder: (folder / RUN / "locks" / "run.lock").exists(), "calibration/local.json"),
    "train": (lambda folder: (folder / RUN / "training.checkpoint").exists(), "supernet.safetensors"),
    "search": (lambda folder: taken_trials(folder) >= 8, "exports"),
    "export": (lambda folder: said(folder, "export network"), "exports/chosen"),
    "verify": (lambda folder: said(folder, "verify on local"), "exports/chosen.verification.json"),
    "report": (lambda folder: said(folder, "report: "), "report.html"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert finish(begin(folder)) == 0, (folder / "stderr").read_text()
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_killed_run_finds_the_same(stage: str, undisturbed: Path, tmp_path: Path) -> None:
    reached, leaves = STAGES[stage]
    if stage != "calibrate":  # which measures anew, so that figures would differ
        shutil.copytree(undisturbed / RUN / "calibration", tmp_path / RUN / "calibration")
    process = begin(tmp_path)
    wait_until(lambda: reached(tmp_path), process)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert not (tmp_path / RUN / leaves).exists(), "it was killed too late"

    assert finish(begin(tmp_path)) == 0, (tmp_path / "stderr").read_text()
    assert (tmp_path / RUN / "report.html").exists()
    assert not (tmp_path / RUN / "training.checkpoint").exists()
    if stage != "calibrate":
        assert outcome(tmp_path) == outcome(undisturbed)


def test_undisturbed_run_is_worth_comparing(undisturbed: Path) -> None:
    found = outcome(undisturbed)
    assert [number for number, *_ in found["trials"]] == list(range(12))
    assert len({metrics["accuracy"] for *_, metrics in found["trials"]}) > 3
    assert found["front"]


def test_interrupted_run_goes_on(
    start: Callable[..., subprocess.Popen[str]], undisturbed: Path, tmp_path: Path
) -> None:
    shutil.copytree(undisturbed / RUN / "calibration", tmp_path / RUN / "calibration")
    process = start(*COMMAND)
    end = time.monotonic() + DEADLINE
    while not (tmp_path / RUN / "training.checkpoint").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert (tmp_path / "stderr").read_text().splitlines()[-1] == "interrupted; the same command goes on from here"
    assert not (tmp_path / RUN / "supernet.safetensors").exists()

    assert finish(begin(tmp_path)) == 0, (tmp_path / "stderr").read_text()
    assert outcome(tmp_path) == outcome(undisturbed)
