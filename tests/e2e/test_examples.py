"""What is in examples/ runs: the tutorials from the first command to the last, the configurations with less training."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from postgres_server import postgres
from sshd_server import ssh_server

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Less of everything, for a configuration that is only to be seen running, and a limit that no busy machine moves.
LESS = (
    "training.epochs=1",
    "calibration.samples=5",
    "calibration.holdout=5",
    "calibration.max_seconds=4",
    "search.evaluations=4",
    "search.limits=[macs_m <= 95 %]",
)
#: What the commands say of a check that another program on the machine makes fail.
LATENCY_FAILED = re.compile(r"error: failed: .*( as predicted|limit on \w+_ms\.)")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder beside one with the command `nas`."""
    program = tmp_path / "bin" / "nas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nas.cli "$@"\n')
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    return work


def run(work: Path, *command: str, **variables: str) -> str:
    """What the command prints. It is tried again from the beginning, twice at most, when a latency was not as predicted or
    above its limit: another program may have had the machine.

    Raises:
        AssertionError: when it fails, with what it said.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name != "NASMYTH_DATA"},
        "PATH": os.pathsep.join([str(work.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NASMYTH_HOME": str(work.parent / "home"),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    options: dict[str, Any] = {"cwd": work, "env": environment, "capture_output": True, "text": True, "timeout": 600}
    found = subprocess.run(command, **options)
    for _ in range(2):
        if found.returncode and LATENCY_FAILED.search(found.stderr):
            shutil.rmtree(work)
            work.mkdir()
            found = subprocess.run(command, **options)
    assert found.returncode == 0, f"{found.stdout}\n{found.stderr}"
    return found.stdout


def tutorial(work: Path, name: str, *arguments: str) -> str:
    return run(work, "bash", str(EXAMPLES / f"{name}.sh"), *arguments)


def test_your_images(work: Path) -> None:
    assert "outputs for one image: (1, 10)" in tutorial(work, "your_images")
    assert (work / "runs" / "photos" / "report.html").exists()


def test_your_device_over_ssh(work: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with ssh_server(tmp_path_factory.mktemp("sshd"), tmp_path_factory.mktemp("far")) as server:
        device = server.device
        options = {"--identity": device.identity, "--known-hosts": device.known_hosts, "--python": device.python}
        said = tutorial(
            work, "your_device_over_ssh", str(device.ssh), *(str(w) for pair in options.items() for w in pair)
        )
    assert "latency on pi as" in said


def test_language_model(work: Path) -> None:
    assert "The list " in tutorial(work, "language_model").splitlines()[-1]
    assert (work / "runs" / "writer" / "exports" / "chosen" / "decode.onnx").exists()


def test_your_pretrained_model(work: Path) -> None:
    tutorial(work, "your_pretrained_model")
    assert (work / "chosen" / "decode.onnx").exists()


def test_many_machines(work: Path) -> None:
    with postgres() as server:
        tutorial(work, "many_machines", server.url)
    assert (work / "chosen" / "model.onnx").exists()


@pytest.mark.parametrize("name", sorted(path.stem for path in (EXAMPLES / "configurations").glob("*.yaml")))
def test_configurations(work: Path, name: str) -> None:
    run(work, "nas", "device", "add", "two-threads", "--threads", "2")
    run(work, "nas", "run", str(EXAMPLES / "configurations" / f"{name}.yaml"), *(f"--set={change}" for change in LESS))
    assert (work / "runs" / name / "exports" / "chosen" / "model.onnx").exists()
