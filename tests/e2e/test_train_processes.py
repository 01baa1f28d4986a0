"""A supernet that is trained in several processes, by the command."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.config import load
from nas.errors import UsageError
from nas.pipeline import open_stages
from nas.runs import Run
from nas.tasks import ImageClassification

TINY = Path(__file__).with_name("tiny.yaml")
RUN = Path("runs") / "tiny"
DEADLINE = 240.0

Start = Callable[..., "subprocess.Popen[str]"]


def training(**keys: Any) -> list[str]:
    changes = {"processes": 2, "sync_batch_norm": True, **keys}
    return [word for key, value in changes.items() for word in ("--set", f"training.{key}={json.dumps(value)}")]


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def alive(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended, or is of somebody else
    return [line for line in found if "nas" in line]


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_all_processes_end_with_the_command_and_another_number_goes_on(
    start: Start, finished: Path, tmp_path: Path, end: signal.Signals, code: int
) -> None:
    process = start("train", str(TINY), *training(checkpoint_seconds=1e-9))
    wait_until(lambda: (tmp_path / RUN / "training.checkpoint").exists() or process.poll() is not None)
    assert process.poll() is None, (tmp_path / "stderr").read_text()
    assert sum("nas.training.worker" in line for line in alive(tmp_path)) == 3  # with torchrun itself
    process.send_signal(end)
    assert process.wait(DEADLINE) == code
    wait_until(lambda: not alive(tmp_path))
    assert not (tmp_path / RUN / "supernet.safetensors").exists()

    config = load(TINY, [f"directory={tmp_path / RUN}", "training.sync_batch_norm=true"])
    stages = open_stages(config)
    with stages.exclusive():
        stages.train()
    assert_trained_alike(tmp_path / RUN, finished)


def test_training_in_two_processes(start: Start, finished: Path, tmp_path: Path) -> None:
    process = start("train", str(TINY), *training())
    assert process.wait(DEADLINE) == 0, (tmp_path / "stderr").read_text()
    told = (tmp_path / "stderr").read_text()
    assert "train the supernet: done in" in told
    assert "validation accuracy: smallest" in told
    assert_trained_alike(tmp_path / RUN, finished)
    assert not (tmp_path / RUN / "training.checkpoint").exists()
    assert len((tmp_path / RUN / "training.jsonl").read_text().splitlines()) == 2


def assert_trained_alike(found: Path, expected: Path) -> None:
    """As by one process with the whole batch; rounding errors have grown over 42 steps."""
    epochs, alone = (Run(path).training()["epochs"] for path in (found, expected))
    assert [epoch["step"] for epoch in epochs] == [epoch["step"] for epoch in alone]
    for epoch, other in zip(epochs, alone, strict=True):
        assert epoch["losses"] == pytest.approx(other["losses"], rel=0.01)


def test_the_error_of_a_process_is_told(start: Start, tmp_path: Path) -> None:
    process = start("train", str(TINY), *training(learning_rate=1e30, clip_norm=1e30))
    assert process.wait(DEADLINE) == 1
    last = (tmp_path / "stderr").read_text().splitlines()[-1]
    assert last.startswith("error: the loss is not finite at step ")
    assert last.endswith("lower training.learning_rate")


def test_images_from_python_cannot_be_sent(tmp_path: Path) -> None:
    config = load(TINY, [f"directory={tmp_path}", "training.processes=2"])
    stages = open_stages(config, task=ImageClassification.load("digits"))
    with pytest.raises(UsageError, match=r"training\.processes is 2, but data .* from Python .* set it to 1"):
        stages.exclusive().__enter__()
    assert not list(tmp_path.iterdir())
