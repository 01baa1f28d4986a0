"""The record of a training, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.errors import UsageError
from nas.files import write_text


@dataclass(frozen=True)
class EpochLog:
    """What one epoch of training gave.

    Attributes:
        step: optimiser steps so far.
        epoch: epochs so far; the last one may be cut short.
        seconds: time spent training so far, interruptions left out.
        learning_rate: at the end of the epoch.
        losses: means over the epoch's steps that had them, by name.
    """

    step: int
    epoch: int
    seconds: float
    learning_rate: float
    losses: Mapping[str, float]


def write_log(path: Path, logs: Sequence[EpochLog]) -> None:
    """Write the epochs so far, one JSON object a line; a reader finds the old lines or the new ones."""
    write_text(path, "".join(json.dumps(asdict(log)) + "\n" for log in logs))


def read_log(path: Path) -> list[EpochLog]:
    """Read what `write_log` wrote.

    Raises:
        UsageError: when the file is missing or damaged.
    """
    try:
        return [_epoch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read; delete it, the next epoch of training makes it again") from error


def _epoch(line: str) -> EpochLog:
    row = json.loads(line)
    losses = {str(name): float(loss) for name, loss in row["losses"].items()}
    return EpochLog(int(row["step"]), int(row["epoch"]), float(row["seconds"]), float(row["learning_rate"]), losses)
