"""Starting the processes of a training on this machine, and attending them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from nas.errors import UsageError
from nas.progress import Advance
from nas.training.processes import threads_each

#: How long the processes have to end by themselves, in seconds.
_GRACE = 20.0

#: What the command line shows as one sentence; other errors are faults of the program.
_ERRORS: Mapping[str, type[Exception]] = MappingProxyType(
    {"UsageError": UsageError, "DataError": UsageError, "FloatingPointError": FloatingPointError}
)


def train_in_processes(run: Path, processes: int, threads: int | None, advance: Advance) -> None:
    """Train the supernet of a run in several processes; the complete training is then in the run's checkpoint.

    They end with this process, however it ends.

    Args:
        run: its directory.
        processes: how many.
        threads: of all of them together, by default all cores.
        advance: called after each step.

    Raises:
        UsageError: when one of the processes says what is wrong with the request.
        FloatingPointError: when the training diverges.
        RuntimeError: when a process fails in another way.
        ChildProcessError: when a process is killed.
    """
    with tempfile.TemporaryFile("w+") as log, _started(run, processes, threads, log) as torchrun:
        first: dict[str, Any] = {}
        for message in _messages(torchrun.stdout):
            if "error" in message:
                first = first or message  # those that follow only miss the process that failed first
            else:
                advance(message["done"], message["total"])
        if torchrun.wait():
            log.seek(0)
            raise _failure(first, log.read())


@contextmanager
def _started(run: Path, processes: int, threads: int | None, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    torchrun = subprocess.Popen(
        [*command, "-m", "nas.training.worker", str(run), "--attended"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads_each(threads, processes))},
        stdin=subprocess.PIPE,  # inherited by the workers, who end when it closes
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which then ends them in order
    )
    try:
        yield torchrun
    finally:
        _end(torchrun)


def _end(torchrun: subprocess.Popen[str]) -> None:
    for stream in (torchrun.stdin, torchrun.stdout):
        if stream is not None:
            stream.close()
    torchrun.terminate()
    try:
        torchrun.wait(_GRACE)
    except subprocess.TimeoutExpired:
        torchrun.kill()
        torchrun.wait()


def _failure(first: dict[str, Any], log: str) -> Exception:
    """The error of the process that failed first; all that the processes said is a note to it."""
    kind, message = first.get("error", ""), first.get("message", "")
    if kind in _ERRORS:
        return _ERRORS[kind](message)
    killed = re.search(r"Signal (?!15\b)\d+ \(\w+\)", log)  # 15 is what torchrun sends to the others
    error: Exception = RuntimeError(f"a training process failed: {kind}: {message}")
    if killed or not kind:
        cause = f" by {killed[0]}" if killed else ""
        error = ChildProcessError(f"a training process was ended{cause}; the same command goes on from the checkpoint")
    error.add_note(log)
    return error


def _messages(stream: IO[str] | None) -> Iterator[dict[str, Any]]:
    """What the workers report; other lines are those of libraries."""
    for line in stream or ():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            yield message
