"""All measurements of all devices, in one file that only grows."""

from __future__ import annotations

import fcntl
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from search_spaces import SearchSpace
from search_spaces.space import Value


@dataclass(frozen=True)
class Record:
    """One measurement of one architecture.

    Attributes:
        device: name of the device.
        space: name of the space.
        space_fingerprint: of the space.
        phase: of the workload.
        architecture: value of every choice by its name.
        latency_ms: the fastest run.
        median_ms: the median of the samples.
        samples_ms: all samples.
        repeat_error: relative; see `Measurement`.
        batch: of the timed graph.
        protocol: the arguments of `measure`.
        fingerprint: of the device; its `time` tells two sessions apart.

    Raises:
        ValueError: when a latency is not a positive number, or the fingerprint has no time.
    """

    device: str
    space: str
    space_fingerprint: str
    phase: str
    architecture: Mapping[str, Value]
    latency_ms: float
    median_ms: float
    samples_ms: tuple[float, ...]
    repeat_error: float
    batch: int
    protocol: Mapping[str, Any]
    fingerprint: Mapping[str, Any]

    def __post_init__(self) -> None:
        for latency_ms in (self.latency_ms, self.median_ms, *self.samples_ms):
            if not (isinstance(latency_ms, float | int) and isfinite(latency_ms) and latency_ms > 0):
                raise ValueError(f"a latency of a record is a positive number of milliseconds, not {latency_ms!r}")
        if not isinstance(self.architecture, Mapping) or "time" not in self.fingerprint:
            raise ValueError("a record needs an architecture as an object, and a fingerprint with its time")

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for two copies of one measurement."""
        values = json.dumps(dict(self.architecture), sort_keys=True)
        return self.device, self.space_fingerprint, self.phase, values, str(self.fingerprint["time"])

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read what `to_json` wrote.

        Raises:
            ValueError: when it is not a record.
        """
        data = json.loads(line)
        names = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError(f"a record is a JSON object with the keys {', '.join(sorted(names))}")
        try:
            return cls(**{**data, "samples_ms": tuple(data["samples_ms"])})
        except TypeError as error:
            raise ValueError(f"a record has a value of a wrong type: {error}") from error


class Bank:
    """An append-only file of JSON lines, safe to append to from several processes at once.

    A crash while appending leaves at most one unfinished last line; reading ignores it with a warning and the next
    `append` removes it.

    Args:
        path: of the file; `append` makes it when there is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, records: Iterable[Record]) -> None:
        """Add `records`, all of them or none, flushed to the disk before this returns.

        Raises:
            OSError: when the file cannot be written.
        """
        data = "".join(record.to_json() + "\n" for record in records).encode()
        with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            _repair(handle)
            end = os.fstat(handle).st_size
            if os.write(handle, data) != len(data):
                os.ftruncate(handle, end)
                raise OSError(f"{self.path} could not be written: is the disk full?")
            os.fsync(handle)

    def records(
        self, device: str | None = None, space: SearchSpace | None = None, phase: str | None = None
    ) -> list[Record]:
        """The records of a device, a space (by its fingerprint) and a phase, oldest first, without duplicates.

        Raises:
            ValueError: when a line is damaged, naming it.
        """
        found: dict[tuple[str, ...], Record] = {}
        for record in self._read():
            if (
                device in (None, record.device)
                and (space is None or space.fingerprint == record.space_fingerprint)
                and phase in (None, record.phase)
            ):
                found.setdefault(record.key, record)
        return list(found.values())

    def _read(self) -> Iterator[Record]:
        if not self.path.exists():
            return
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as handle:
            data = _content(handle)
        *lines, rest = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                yield Record.from_json(line)
            except ValueError as error:
                raise ValueError(f"line {number} of {self.path} is damaged: {error}; remove it") from error
        if rest:
            warnings.warn(f"the last line of {self.path} is unfinished and ignored", stacklevel=3)

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        handle = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(handle, lock)
            yield handle
        finally:
            os.close(handle)


def _content(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read()


def _repair(handle: int) -> None:
    """Cut an unfinished last line off."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        os.ftruncate(handle, os.pread(handle, size, 0).rfind(b"\n") + 1)
