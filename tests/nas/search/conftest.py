from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import pytest
from postgres_server import Postgres, postgres
from synthetic_search import small_space, tiny_space

from search_spaces import SearchSpace


@pytest.fixture(scope="session")
def small() -> SearchSpace:
    return small_space()


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return tiny_space()


@pytest.fixture
def driver() -> None:
    """Skips a test that needs no server, where the driver of PostgreSQL is not installed."""
    pytest.importorskip("psycopg")


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        importlib.import_module("nas.search.database")  # once, and not in each worker that is forked
        yield running


@pytest.fixture
def url(server: Postgres) -> str:
    """Of a new database."""
    server.query("DROP DATABASE IF EXISTS test WITH (FORCE)")
    server.query("CREATE DATABASE test")
    return server.url.replace("/postgres", "/test")


@pytest.fixture(autouse=True)
def no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process has written is not lost; only when the power fails must it be on the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
