"""What is on record: JSON lines, one file for each kind of row, so that a killed command goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class RowFile:
    """The rows in a file.

    Attributes:
        path: of the file, which need not exist.
    """

    path: Path

    def read(self, **wanted: Any) -> list[Row]:
        """All rows that have the `wanted` values, in the order in which they came in."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [row for row in found if all(row[key] == value for key, value in wanted.items())]

    def keep(self, **row: Any) -> None:
        """Put a row on record."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True)
class Rows:
    """The rows of several kinds in a folder, a file for each kind.

    Attributes:
        folder: that holds the files.
    """

    folder: Path

    def read(self, kind: str, **wanted: Any) -> list[Row]:
        """All rows of a kind that have the `wanted` values, in the order in which they came in."""
        return RowFile(self.folder / f"{kind}.jsonl").read(**wanted)

    def keep(self, kind: str, **row: Any) -> None:
        """Put a row on record."""
        RowFile(self.folder / f"{kind}.jsonl").keep(**row)

    @contextmanager
    def timed(self, stage: str, **of: Any) -> Iterator[None]:
        """Add the seconds that the body takes to those of a stage, also when it is interrupted."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.keep("seconds", stage=stage, **of, seconds=time.monotonic() - started)

    def seconds(self, **wanted: Any) -> float:
        """Sum of all seconds of a stage, or of several."""
        return float(sum(row["seconds"] for row in self.read("seconds", **wanted)))
