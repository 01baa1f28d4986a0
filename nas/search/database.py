"""The study in a PostgreSQL database, for workers on many hosts; leases are advisory locks of database sessions.

Optuna's own means against killed workers are heartbeats: a thread of each worker writes the time, and whoever finds an
old one fails the trial. They would fail a worker that was only stopped for a while, find a killed one after minutes
instead of at once, and give its network a new trial, so that a resumed search would have other trials than an
undisturbed one.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import optuna
import psycopg
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import get_all_study_names
from sqlalchemy.engine import URL, ExceptionContext

from nas.errors import UsageError
from nas.search.address import without_password
from nas.search.store import Lease, StudyStore, new_worker

T = TypeVar("T")

#: How long a worker tries to get a lost connection back.
RECONNECT_SECONDS = 60.0

#: Both ends notice within 50 seconds that the other host is gone; nothing is sent by a host that lost its power.
_IDLE, _INTERVAL, _COUNT = 20, 10, 3
_KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": _IDLE,
    "keepalives_interval": _INTERVAL,
    "keepalives_count": _COUNT,
    "tcp_user_timeout": 1000 * (_IDLE + _INTERVAL * _COUNT),
    "options": f"-c tcp_keepalives_idle={_IDLE} -c tcp_keepalives_interval={_INTERVAL} -c tcp_keepalives_count={_COUNT}",
}


def _lock_key(*names: str) -> int:
    """An advisory lock is a signed number of 64 bits."""
    digest = hashlib.blake2b("\0".join(("nasmyth", *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _lost(error: BaseException | None) -> bool:
    """Whether an error is about the connection, not about what was asked, or came of such a one."""
    while error is not None and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        error = error.__cause__ or error.__context__
    return error is not None


def _reason(error: BaseException) -> str:
    """The driver's message on one line; SQLAlchemy's would add the statement and a link."""
    cause = (error.__cause__ or error) if isinstance(error, StorageInternalError) else error
    message = str(getattr(cause, "orig", None) or cause)
    hint = "; a password is taken from PGPASSWORD or ~/.pgpass" if "password" in message else ""
    return " ".join(message.split()) + hint


class _Fence:
    """Stops what a worker does exclusively when it can have lost its locks meanwhile.

    Optuna and SQLAlchemy have connections of their own, and try again when one is lost; by then another worker may
    have the locks.
    """

    def __init__(self) -> None:
        self._session: psycopg.Connection | None = None
        self._lost = False

    @contextmanager
    def around(self, session: psycopg.Connection) -> Iterator[None]:
        """While the locks of `session` are needed."""
        self._session, self._lost = session, False
        try:
            yield
        finally:
            self._session = None

    def watch(self, engine: sqlalchemy.Engine) -> None:
        """Look at each transaction of an engine."""
        sqlalchemy.event.listen(engine, "begin", self._begin)
        sqlalchemy.event.listen(engine, "handle_error", self._error)

    def _begin(self, _: sqlalchemy.Connection) -> None:
        if self._session is None:
            return
        if self._lost:
            raise psycopg.OperationalError("another connection was lost")
        self._session.execute("SELECT 1")

    def _error(self, context: ExceptionContext) -> None:
        self._lost |= context.is_disconnect and not context.is_pre_ping


class SessionLease(Lease):
    """Advisory locks of one session: the server frees them when the session ends.

    Args:
        connect: opens a session.
        fence: of the study's engines.
        place: the database, for people.
        study: name of the study.
        worker: name of the holder.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection], fence: _Fence, place: str, study: str, worker: str
    ) -> None:
        self._connect, self._fence, self._place, self._study, self.worker = connect, fence, place, study, worker
        self._session = self._begin()

    def exclusively(self, action: Callable[[], T]) -> T:
        end: float | None = None
        while True:
            try:
                with self._asking():
                    return action()
            except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
                if not _lost(error):
                    raise
                end = time.monotonic() + RECONNECT_SECONDS if end is None else end
                self._begin_again(error, end)

    def is_held(self, worker: str) -> bool:
        key = _lock_key(self._study, worker)
        free = self._ask("SELECT pg_try_advisory_lock(%s)", key)
        if free:
            self._ask("SELECT pg_advisory_unlock(%s)", key)
        return not free

    def close(self) -> None:
        """End the session, and with it all its locks."""
        self._session.close()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        key = _lock_key(self._study)
        self._ask("SELECT pg_advisory_lock(%s)", key)
        try:
            with self._fence.around(self._session):
                yield
        finally:
            with suppress(psycopg.Error):  # of a lost session the lock is free
                self._ask("SELECT pg_advisory_unlock(%s)", key)

    def _ask(self, statement: str, key: int) -> bool:
        row = self._session.execute(statement.encode(), (key,)).fetchone()
        return bool(row and row[0])

    def _begin(self) -> psycopg.Connection:
        """A session that holds the lock of the worker. Waits until the server gives up a lost one that has it still."""
        session = self._connect()
        # Databases may have time limits; a worker waits for others, and is silent while it evaluates.
        limits = ["statement_timeout", "lock_timeout", "idle_session_timeout"]
        session.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY(%s)", (limits,))
        session.execute("SELECT pg_advisory_lock(%s)", (_lock_key(self._study, self.worker),))
        return session

    def _begin_again(self, error: Exception, end: float) -> None:
        warnings.warn(f"the connection to {self._place} was lost; trying to get it back", stacklevel=4)
        self._session.close()
        pause = 0.1
        while time.monotonic() < end:
            time.sleep(pause)
            try:
                self._session = self._begin()
                return
            except psycopg.OperationalError as again:
                error, pause = again, min(2 * pause, 2.0)
        raise ConnectionError(
            f"the connection to {self._place} was lost ({_reason(error)}); no finished trial is lost: start the same "
            "command again when the database is well"
        ) from error


class DatabaseStore(StudyStore):
    """A PostgreSQL database.

    Args:
        url: such as `postgresql://user@host/database`.

    Raises:
        UsageError: when it is not a URL of such a database.
    """

    def __init__(self, url: str) -> None:
        self._place, self._fence = without_password(url), _Fence()
        try:
            self._url: URL = sqlalchemy.make_url(url).set(drivername="postgresql+psycopg")
            _, self._parameters = self._url.get_dialect()().create_connect_args(self._url)
        except (sqlalchemy.exc.ArgumentError, ValueError) as error:
            raise UsageError(f"{self._place!r} is not a URL such as postgresql://USER@HOST/DATABASE") from error

    def __str__(self) -> str:
        return self._place

    def open(self) -> RDBStorage:
        with self._plain_errors(), self._connect() as session:
            # Several new workers would make the same tables at once.
            session.execute("SELECT pg_advisory_lock(%s)", (_lock_key(),))
            try:
                storage = RDBStorage(
                    self._url.render_as_string(hide_password=False),
                    engine_kwargs={"pool_pre_ping": True, "connect_args": _KEEPALIVE},
                )
            except RuntimeError as error:  # what it raises says what to do
                raise UsageError(f"{self} has tables of another version of Optuna: {error}") from error
            optuna.logging.set_verbosity(optuna.logging.ERROR)  # its warnings are of connections that come back
            self._fence.watch(storage.engine)
            return storage

    def holds(self, study: str | None) -> bool:
        with self._plain_errors():
            names = get_all_study_names(self.open())
            return study in names if study else bool(names)

    @contextmanager
    def lease(self, study: str) -> Iterator[Lease]:
        with self._plain_errors():
            lease = SessionLease(self._connect, self._fence, str(self), study, new_worker())
        try:
            yield lease
        finally:
            lease.close()

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(**{**self._parameters, **_KEEPALIVE}, autocommit=True)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            raise ConnectionError(f"the database {self} cannot be used: {_reason(error)}") from error
