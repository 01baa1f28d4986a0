"""A real PostgreSQL of the test's own, on a free port of this host."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def _binaries() -> Path | None:
    """Debian keeps the server away from PATH."""
    found = [Path(path).resolve() for path in [shutil.which("postgres")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[0].parent if found else None


class Postgres:
    """A server with one user `tester` who needs no password, and a user `guarded` with the password `se:cret`.

    Args:
        folder: empty, and reachable for the user that the server runs as.
        binaries: folder of `postgres` and `initdb`.
    """

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:  # the server refuses to be run by root
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "tester", "--no-sync", "-E", "UTF8", "--locale", "C")
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self._server: subprocess.Popen[bytes] | None = None

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / name, *arguments], cwd=self._folder, check=True, capture_output=True, **self._as
        )

    @property
    def url(self) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    @property
    def guarded_url(self) -> str:
        return f"postgresql://guarded:se%3Acret@127.0.0.1:{self.port}/postgres"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Returns when the server takes connections."""
        import psycopg

        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "fsync": "off", "shared_buffers": "16MB"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("ab")
        command = [self._binaries / "postgres", "-D", "data", "-k", str(self._folder), *options]
        self._server = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._as)
        log.close()
        for _ in range(600):
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self._folder / "log").read_text()
                signal.sigtimedwait([], 0.05)
        raise AssertionError("the server does not start")

    def stop(self, cleanly: bool = True) -> None:
        """Cut all sessions and write everything to disk, or leave that undone."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT if cleanly else signal.SIGQUIT)
            self._server.wait(30)
            self._server = None


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; skips the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="nasmyth-postgres-"))
    server = Postgres(folder, binaries)
    try:
        server.start()
        server.query("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'se:cret'")
        yield server
    finally:
        server.stop(cleanly=False)
        shutil.rmtree(folder, ignore_errors=True)
