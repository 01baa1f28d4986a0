"""The study on disk: Optuna's journal file, safe against a killed writer."""

from __future__ import annotations

import fcntl
import os
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import Study

from nas.errors import UsageError
from nas.search.metrics import Metric

IDENTITY = "nasmyth"


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


def storage(journal: Path) -> JournalStorage:
    """Optuna's storage on a journal file, which is mended when a killed writer left half a line.

    Raises:
        UsageError: when the file is damaged in another way.
    """
    lock = KernelLock(journal)
    backend = JournalFileBackend(str(journal), lock_obj=lock)
    lock.acquire()
    lock.release()
    try:
        return JournalStorage(backend)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise UsageError(f"{journal} is damaged ({error}); move it away to search anew") from error


def create_or_load(
    journal: Path, name: str, objectives: list[Metric], identity: dict[str, Any], sampler: BaseSampler
) -> Study:
    """The study in `journal`, made when it is not there.

    Args:
        journal: path of the file.
        name: of the study.
        objectives: in the order of the study's values.
        identity: JSON values that the stored study must agree with: space, objectives, limits, seed.
        sampler: proposes the trials.

    Raises:
        UsageError: when the stored study was made for something else (the message says what differs), or the file
            is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=storage(journal),
        study_name=name,
        directions=[metric.direction for metric in objectives],
        sampler=sampler,
        load_if_exists=True,
    )
    stored = study.user_attrs.get(IDENTITY)
    if stored is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([metric.name for metric in objectives])
        study.set_user_attr(IDENTITY, identity)
    elif stored != identity:
        differing = [key for key in identity if stored.get(key) != identity[key]]
        first = differing[0] if differing else "format"
        raise UsageError(
            f"the study in {journal} was made with another {first}: {stored.get(first)!r}, now {identity.get(first)!r}; "
            "go on with the old one, or use a new run directory"
        )
    return study


def load(journal: Path) -> Study:
    """The only study in `journal`, for reading.

    Raises:
        UsageError: when there is none.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not journal.exists():
        raise UsageError(f"{journal} is missing: no search was started in this run")
    journal_storage = storage(journal)
    names = optuna.get_all_study_names(journal_storage)
    if len(names) != 1:
        raise UsageError(f"{journal} holds {len(names)} studies where one is expected")
    return optuna.load_study(study_name=names[0], storage=journal_storage)
