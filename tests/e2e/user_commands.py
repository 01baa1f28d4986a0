"""Commands of a user in a folder of their own, with nothing of this machine's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

#: What the commands say when another program on the machine makes a latency differ, or its prediction too uncertain for a limit.
LATENCY_FAILED = re.compile(
    r"error: (failed: .*( as predicted|limit on \w+_ms\.)|no network of the space keeps the limits: '\w+_ms\.)"
)


def user_folder(base: Path) -> Path:
    """An empty folder in `base`, beside one with the command `nas`."""
    program = base / "bin" / "nas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nas.cli "$@"\n')
    program.chmod(0o755)
    work = base / "work"
    work.mkdir()
    return work


def run(work: Path, *command: str, **variables: str) -> str:
    """What the command prints. It is tried again in the folder as it was, twice at most, when a latency was not as predicted or
    could not be kept below its limit: another program may have had the machine.

    Args:
        work: what `user_folder` gave.
        command: a program and its arguments.
        variables: of the environment.

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
    options: dict[str, Any] = {"cwd": work, "env": environment, "capture_output": True, "text": True, "timeout": 900}
    before = Path(shutil.copytree(work, work.parent / "before"))
    found = subprocess.run(command, **options)
    for _ in range(2):
        if found.returncode and LATENCY_FAILED.search(found.stderr):
            shutil.rmtree(work)
            shutil.copytree(before, work)
            found = subprocess.run(command, **options)
    shutil.rmtree(before)
    assert found.returncode == 0, f"{found.stdout}\n{found.stderr}"
    return found.stdout
