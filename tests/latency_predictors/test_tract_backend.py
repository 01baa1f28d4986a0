from __future__ import annotations

import sys

import pytest

from latency_predictors.devices.backend import Backend
from latency_predictors.devices.tract import Tract
from nas.testing.backends import BackendContract

pytest.importorskip("tract")


class TestTract(BackendContract):
    lacks = "Det"

    @staticmethod
    def make() -> Backend:
        return Tract()


def test_it_has_one_thread() -> None:
    with pytest.raises(ValueError, match="'threads' of backend 'tract' can only be 1, got 2"):
        Tract(threads=2)


def test_missing_tract_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tract", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tract"):
        Tract().prepare(b"")
