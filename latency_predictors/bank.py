"""All measurements of all devices, in one file that only grows."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latency_predictors.devices.device import home
from latency_predictors.files import advice, sync_folder
from latency_predictors.measurements import Measurements
from latency_predictors.record import Record
from latency_predictors.shipped import SHIPPED, Shipped


class Bank(Measurements):
    """An append-only file of JSON lines, safe to append to from several processes at once.

    A crash while appending leaves at most one unfinished last line, and perhaps some of the new records before it:
    reading ignores that line with a warning, the next `append` removes it, and appending the same records again adds
    those that are missing.

    Args:
        path: of the file; `append` makes it when there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def user(cls) -> Bank:
        """The one of the user: `$NASMYTH_HOME/bank.jsonl`, by default `~/.nasmyth/bank.jsonl`."""
        return cls(home() / "bank.jsonl")

    @staticmethod
    def shipped() -> Measurements:
        """What the project itself knows of real devices; without raw samples."""
        return Shipped(SHIPPED)

    def append(self, records: Iterable[Record]) -> int:
        """Add those of `records` that are not there yet, flushed to the disk before this returns; how many they were.

        Raises:
            ValueError: when a line of the file is damaged, naming it; nothing is added.
            OSError: when the file cannot be written; nothing is added.
        """
        wanted: dict[tuple[Any, ...], Record] = {}
        for record in records:
            wanted.setdefault(record.key, record)
        with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            content = self._content(handle)
            known, unfinished = self._parsed(content)
            for record in known:
                wanted.pop(record.key, None)
            if not wanted:
                return 0
            lines = "".join(record.to_json() + "\n" for record in wanted.values()).encode()
            if unfinished:
                os.ftruncate(handle, len(content) - len(unfinished))
            elif content and not content.endswith(b"\n"):
                lines = b"\n" + lines
            self._write(handle, lines)
        return len(wanted)

    def _all(self) -> list[Record]:
        if not self.path.exists():
            return []
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as handle:
            content = self._content(handle)
        return self._parsed(content)[0]

    def _content(self, handle: int) -> bytes:
        try:
            with os.fdopen(os.dup(handle), "rb") as file:
                return file.read()
        except OSError as error:
            raise OSError(f"the bank {self.path} cannot be read: {error.strerror}") from error

    def _parsed(self, content: bytes) -> tuple[list[Record], bytes]:
        """The records of a file, and its unfinished last line."""
        *lines, rest = content.split(b"\n")
        found = [self._record(number, line) for number, line in enumerate(lines, start=1)]
        try:
            return [*found, Record.from_json(rest)] if rest else found, b""
        except ValueError:
            warnings.warn(
                f"the last line of {self.path} is unfinished (a crash while it was written) and left out", stacklevel=4
            )
            return found, rest

    def _record(self, number: int, line: bytes) -> Record:
        try:
            return Record.from_json(line)
        except ValueError as error:
            raise ValueError(
                f"line {number} of {self.path} is damaged: {error}; nothing was changed: "
                "mend that line or delete it, all others stay"
            ) from error

    def _write(self, handle: int, data: bytes) -> None:
        """Write all of `data` at the end of the file, or nothing."""
        end, rest = os.fstat(handle).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, end)
            raise OSError(
                f"the bank {self.path} could not be written ({error.strerror}); its measurements are as they were, "
                f"and nothing was added: {advice(error)}"
            ) from error
        if not end:
            sync_folder(self.path.parent)

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        try:
            if flags & os.O_CREAT:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise OSError(f"the bank {self.path} cannot be opened ({error.strerror}): {advice(error)}") from error
        try:
            fcntl.flock(handle, lock)
            yield handle
        finally:
            os.close(handle)
