"""The example for SLURM, with stand-ins for what a cluster has."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "slurm_workers.sh"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """`srun` that runs its command here, and a `nas` that writes down how it was called and waits."""
    programs = {"srun": 'exec "$@"', "nas": 'echo "$OMP_NUM_THREADS $*" > called; exec sleep 60'}
    for name, command in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "2"}


def test_the_worker_gets_the_signals_of_the_job(tmp_path: Path, environment: dict[str, str]) -> None:
    job = subprocess.Popen([SCRIPT, "runs/my run"], cwd=tmp_path, env=environment)
    end = time.monotonic() + 20
    while not (tmp_path / "called").exists() or not (tmp_path / "called").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert (tmp_path / "called").read_text() == "2 worker runs/my run\n"
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == -signal.SIGTERM


def test_without_a_run_it_says_how_it_is_used(tmp_path: Path, environment: dict[str, str]) -> None:
    found = subprocess.run([SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode != 0
    assert "usage: sbatch slurm_workers.sh RUN" in found.stderr
