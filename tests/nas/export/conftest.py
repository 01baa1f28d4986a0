"""A finished tiny run and its bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import nas
from latency_predictors import Device
from nas.export.bundle import Bundle

TINY = Path(__file__).parents[2] / "e2e" / "tiny.yaml"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody may change; the tests of other folders finish the same one."""
    result = nas.run(TINY, f"directory={tmp_path_factory.getbasetemp() / 'finished'}")
    assert result.verification.passed, result.verification.document()
    return result.path


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Bundle:
    """A copy of the run's bundle, to be changed."""
    return Bundle(Path(shutil.copytree(finished / "exports" / "chosen", tmp_path / "bundle")))


@pytest.fixture(scope="session")
def device() -> Device:
    return Device.load("local")
