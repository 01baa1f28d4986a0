"""Passwords of URLs are not shown."""

from __future__ import annotations

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config import RunConfig, parse
from nas.search.address import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("postgresql://me:pw@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:p@s/s:w@host/db", "postgresql://me@host/db"),
        ("postgresql://:pw@host/db", "postgresql://@host/db"),
        ("postgresql://me@host/db?password=pw", "postgresql://me@host/db"),
        ("postgresql://me@h/db?sslmode=require&password=pw", "postgresql://me@h/db?sslmode=require"),
        ("postgresql://me@h/db?sslpassword=pw&sslmode=require", "postgresql://me@h/db?sslmode=require"),
        ("no url", "no url"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert without_password(shown) == shown


@settings(max_examples=50, deadline=None)
@given(
    password=st.text(min_size=1),
    user=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    port=st.none() | st.integers(1, 65535),
)
def test_only_the_password_is_left_out(password: str, user: str, port: int | None) -> None:
    """SQLAlchemy writes and reads the URLs."""
    rest = ("db.example.org", port, "nasmyth", {"sslmode": "require"})
    secret = sqlalchemy.URL.create("postgresql", user, password, *rest).render_as_string(hide_password=False)
    assert sqlalchemy.make_url(without_password(secret)) == sqlalchemy.URL.create("postgresql", user, None, *rest)


def test_configuration_keeps_the_password_to_itself() -> None:
    url = "postgresql://me:s3cret@host/db"
    config = parse({"name": "run", "search": {"storage": url}})
    assert config.search.storage == url
    assert "s3cret" not in config.to_yaml()
    assert "s3cret" not in str(config.model_dump())
    assert config.model_dump()["search"]["storage"] == "postgresql://me@host/db"
    assert parse(RunConfig(name="run").model_dump()).search.storage is None
