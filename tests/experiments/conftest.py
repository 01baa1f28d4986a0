from __future__ import annotations

from pathlib import Path

import pytest
from few_shot_tables import fbnet_table, write
from spy_predictor import Spy

import search_spaces
from experiments.few_shot_latency import benchmark
from latency_predictors import registry
from search_spaces import SearchSpace


@pytest.fixture(scope="session")
def fbnet_space() -> SearchSpace:
    return search_spaces.get("fbnet")


@pytest.fixture(scope="session")
def fbnet_file(fbnet_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(fbnet_table(fbnet_space), tmp_path_factory.mktemp("tables") / "fbnet.parquet")


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast methods are is of no interest here."""
    monkeypatch.setattr(benchmark, "AT_ONCE", 1000)


@pytest.fixture
def spies(monkeypatch: pytest.MonkeyPatch) -> list[Spy]:
    """All spies that are made; `spy` is a method meanwhile."""
    monkeypatch.setitem(registry._PREDICTORS, "spy", "spy_predictor:Spy")
    monkeypatch.setattr(Spy, "made", [])
    return Spy.made
