"""The bundle of the finished run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latency_predictors import Device
from nas.export.bundle import Bundle


@pytest.fixture
def bundle(finished: Path, tmp_path: Path) -> Bundle:
    """A copy of the run's bundle, to be changed."""
    return Bundle(Path(shutil.copytree(finished / "exports" / "chosen", tmp_path / "bundle")))


@pytest.fixture(scope="session")
def device() -> Device:
    return Device.load("local")
