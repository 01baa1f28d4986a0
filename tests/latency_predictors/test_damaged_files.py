"""Whatever is in a file, reading it gives what it means or the documented error, and the file stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bank_records import record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import damaged, refused

from latency_predictors import Bank, Calibration, Device, calibrate
from search_spaces import Architecture, SearchSpace

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(st.data())
def test_architectures(tiny: SearchSpace, data: st.DataObject) -> None:
    whole = json.loads(tiny.smallest().to_json())
    text = data.draw(damaged(whole)).decode(errors="replace")
    assert "without a word" not in refused(lambda: tiny.codes([Architecture.from_json(text)]))


@pytest.fixture(scope="module")
def calibration(tiny: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("calibration") / "local.json"
    options = {"samples": 3, "holdout": 2, "predictor": "nonnegative", "max_seconds": 0.1}
    calibrate(tiny, Device("local"), **options).save(path)  # type: ignore[arg-type]
    document: dict[str, object] = json.loads(path.read_text())
    return document


@SETTINGS
@given(st.data())
def test_calibrations(tiny: SearchSpace, calibration: dict[str, object], tmp_path: Path, data: st.DataObject) -> None:
    path, content = tmp_path / "device.json", data.draw(damaged(calibration))
    path.write_bytes(content)
    assert "without a word" not in refused(lambda: Calibration.load(path, tiny))
    assert path.read_bytes() == content


@SETTINGS
@given(st.data())
def test_banks(tiny: SearchSpace, tmp_path: Path, data: st.DataObject) -> None:
    good = record(tiny, 1).to_json().encode()
    line = data.draw(damaged(json.loads(record(tiny, 0).to_json())).filter(lambda text: b"\n" not in text))
    path, content = tmp_path / "bank.jsonl", good + b"\n" + line + b"\n"
    path.write_bytes(content)
    said = refused(lambda: Bank(path).append([record(tiny, 2)]))
    assert not said or "line 2 of" in said
    assert path.read_bytes() == content if said else path.read_bytes().startswith(content)
