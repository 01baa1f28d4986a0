"""Commands in this process: the imports alone take seconds in a new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_commands import Command, Outcome, Start

from nas.cli import main


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `nas` with the given arguments in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [*sys.path])

    def command(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return Outcome(int(exit_.value.code or 0), printed.out, printed.err)

    return command


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `nas` as a process of its own in `tmp_path`; what is left of it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "NASMYTH_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "nas.cli", *map(str, arguments)]
        with (tmp_path / f"output-{len(started)}").open("w") as output:
            process = subprocess.Popen(
                words, cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def calibrated(finished: Path, tmp_path: Path) -> Path:
    """The directory of a run that is calibrated and nothing else."""
    shutil.copytree(finished / "calibration", tmp_path / "calibrated" / "calibration")
    return tmp_path / "calibrated"
