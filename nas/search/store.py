"""Where a study is kept, and what a worker holds while it lives: what a journal file and a database have in common."""

from __future__ import annotations

import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from optuna.storages import BaseStorage

T = TypeVar("T")


def new_worker() -> str:
    """A name that no other worker has, on this host or another one."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Lease(ABC):
    """Held by a worker while it lives; the system that gave it takes it back when the worker ends, however it ends.

    Attributes:
        worker: name of the holder.
    """

    worker: str

    @abstractmethod
    def exclusively(self, action: Callable[[], T]) -> T:
        """What `action` gives, done while no other worker of the study does such a thing.

        An action during which the connection to the study is lost is done again, so it must be one that looks at what
        it did before.

        Raises:
            ConnectionError: when the connection does not come back.
        """

    @abstractmethod
    def is_held(self, worker: str) -> bool:
        """Whether another worker lives."""


class StudyStore(ABC):
    """A place for studies. As a text it names that place for people, without a password."""

    @abstractmethod
    def open(self) -> BaseStorage:
        """Optuna's storage, made when it is not there.

        Raises:
            UsageError: when it is damaged.
            ConnectionError: when it cannot be reached.
        """

    @abstractmethod
    def holds(self, study: str | None) -> bool:
        """Whether the study of that name is there; any study without a name."""

    @abstractmethod
    def lease(self, study: str) -> AbstractContextManager[Lease]:
        """A lease of a new worker of that study."""
