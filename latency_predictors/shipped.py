"""Measurements of real devices that ship with the project: compressed JSON lines without raw samples."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from latency_predictors.files import write_bytes
from latency_predictors.measurements import Measurements
from latency_predictors.record import Record

#: Where they are.
SHIPPED = Path(__file__).parent / "data"
SUFFIX = ".jsonl.gz"


class Shipped(Measurements):
    """The measurements of one file `*.jsonl.gz`, or of all those in a folder.

    Args:
        path: of the file or folder; nothing is known where there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _all(self) -> Iterator[Record]:
        is_file = self.path.name.endswith(SUFFIX)
        for path in [self.path] if is_file else sorted(self.path.glob(f"*{SUFFIX}")):
            yield from _read(path)


def write_shipped(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write `records` without raw samples and without duplicates: the same records give the same bytes.

    Args:
        path: `name.jsonl.gz`; pandas and DuckDB read it too.
        records: of any devices and spaces.

    Raises:
        ValueError: when the name does not end so.
        OSError: when the file cannot be written.
    """
    if not os.fspath(path).endswith(SUFFIX):
        raise ValueError(f"a bank that ships is a file NAME{SUFFIX}, not {path}")
    lines = {record.key: replace(record, samples_ms=()).to_json() + "\n" for record in records}
    text = "".join(sorted(lines.values()))
    write_bytes(path, gzip.compress(text.encode(), mtime=0))


def _read(path: Path) -> Iterator[Record]:
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): install Nasmyth anew, or delete the file") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.from_json(line)
        except ValueError as error:
            raise ValueError(f"line {number} of {path} is damaged: {error}; install Nasmyth anew") from error
