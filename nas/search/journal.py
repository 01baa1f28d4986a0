"""The study in a journal file of Optuna's, safe against a killed writer; leases are locks of the system on files."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file

from latency_predictors.files import writing
from nas.errors import UsageError
from nas.files import locked
from nas.search.store import Lease, StudyStore, new_worker

T = TypeVar("T")


class JournalFile(JournalFileBackend):
    """Optuna's file, which is not brought to the disk after every entry: whoever writes several does so once, with
    `on_disk`. What was written outlives its writer all the same, only not a loss of power."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), writing(self._file_path), open(self._file_path, "ab") as file:
            file.write(lines.encode())


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """What is written to a file within the context is on the disk when it ends."""
    before = path.stat().st_size if path.exists() else 0
    yield
    if path.exists() and path.stat().st_size != before:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class KernelLock(BaseJournalFileLock):
    """A lock that the system frees when its holder is killed (Optuna's own would block for 30 seconds).

    Taking it also cuts off a line that a killed writer left unfinished, which would make the journal unreadable.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        cut_unfinished_line(self._journal)
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def cut_unfinished_line(path: Path) -> None:
    """Shorten a file of lines to its last line end."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            file.truncate(position)


class FileLease(Lease):
    """A lock on a file of the worker's own, and one on a file of all workers.

    Args:
        journal: that the workers write.
        folder: of the locks.
        worker: name of the holder.
    """

    def __init__(self, journal: Path, folder: Path, worker: str) -> None:
        self._journal, self._folder, self.worker = journal, folder, worker

    def exclusively(self, action: Callable[[], T]) -> T:
        with locked(self._folder / "ask.lock"), on_disk(self._journal):
            return action()

    def is_held(self, worker: str) -> bool:
        file = self.file_of(worker)
        if not file.exists():
            return False
        try:
            with locked(file, wait=False):
                file.unlink(missing_ok=True)  # it was left behind; no name is used twice
                return False
        except BlockingIOError:
            return True

    def file_of(self, worker: str) -> Path:
        """The file that a worker keeps locked."""
        return self._folder / f"worker-{worker}.lock"


class JournalStore(StudyStore):
    """A journal file, for the processes of one host. The locks are in the folder `locks` beside it.

    Args:
        journal: path of the file.
    """

    def __init__(self, journal: Path) -> None:
        self.journal, self.locks = journal, journal.with_name("locks")

    def __str__(self) -> str:
        return str(self.journal)

    def open(self) -> JournalStorage:
        """Optuna's storage, mended when a killed writer left half a line; that of another user can be read only."""
        lock = KernelLock(self.journal)
        with writing(self.journal):
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            backend = JournalFile(str(self.journal), lock_obj=lock)
            if os.access(self.journal.parent, os.W_OK):
                lock.acquire()
                lock.release()
        try:
            return JournalStorage(backend)
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise UsageError(f"{self} is damaged ({error}); move it away to search anew") from error

    def holds(self, study: str | None) -> bool:
        """Whether there is the file: it is made for one study."""
        return self.journal.exists()

    @contextmanager
    def lease(self, study: str) -> Iterator[Lease]:
        lease = FileLease(self.journal, self.locks, new_worker())
        file = lease.file_of(lease.worker)
        with locked(file):
            try:
                yield lease
            finally:
                file.unlink(missing_ok=True)
