"""Converters that come as programs: run apart, so that a crash is an error message, with what they write kept."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

SECONDS = 300


def convert(command: Sequence[str], folder: Path, title: str) -> str:
    """What `command`, run in `folder`, wrote to its standard streams.

    A converter that fails may still end with exit code 0, and one that ends otherwise may have written why: the
    caller looks for the files that it should have made.

    Raises:
        ValueError: when it takes longer than five minutes or cannot be started.
    """
    try:
        done = subprocess.run(
            list(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{title} cannot load the model: converting it took more than {SECONDS} seconds") from error
    except OSError as error:
        raise ValueError(f"{title} cannot load the model: its converter does not start ({error})") from error
    return done.stdout.decode("utf-8", errors="replace")
