"""What a run measures is kept in its bank and in the user's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latency_predictors import Bank
from nas.progress import Reporter
from nas.runs import Run
from nas.stages import Stages


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bank of the user is."""
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def stages(path: Path) -> Stages:
    return Stages(*Run.existing(path), Reporter())


def measured(path: Path) -> list[dict[str, Any]]:
    """The rows of the calibration's file."""
    data = json.loads((path / "calibration" / "local.json").read_text())
    return [*data["reference"], *data["holdout"]]


def test_a_run_has_a_bank(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "bank.jsonl").read_text().splitlines()]
    names = ("architecture", "latency_ms", "median_ms", "samples_ms", "repeat_error")
    assert [{name: line[name] for name in names} for line in lines] == [
        {name: row[name] for name in names} for row in measured(finished)
    ]
    calibration = json.loads((finished / "calibration" / "local.json").read_text())
    for line in lines:
        assert line["device"] == "local"
        assert (line["backend"], line["options"]) == ("onnxruntime", {})
        assert line["fingerprint"] == calibration["fingerprint"]
        assert line["protocol"] == calibration["protocol"]


def test_both_banks_are_made_good_and_nothing_is_twice(copied: Path, home: Path) -> None:
    """As after a crash between the calibration's file and the banks."""
    file = copied / "bank.jsonl"
    before = file.read_bytes()
    file.write_bytes(b"".join(before.splitlines(keepends=True)[:4]))
    stages(copied).calibrate()
    assert file.read_bytes() == before
    assert (home / "bank.jsonl").read_bytes() == before
    stages(copied).calibrate()
    assert file.read_bytes() == before
    assert (home / "bank.jsonl").read_bytes() == before


def test_the_run_goes_on_without_the_bank_of_the_user(
    copied: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "bank.jsonl").write_text("{}\n")
    stages(copied).calibrate()
    assert "warning: line 1 of" in capsys.readouterr().err
    assert (home / "bank.jsonl").read_text() == "{}\n"
    (home / "bank.jsonl").unlink()
    home.rmdir()
    home.touch()
    stages(copied).calibrate()
    said = capsys.readouterr().err
    assert "cannot be opened" in said
    assert f"measurements are in {copied / 'bank.jsonl'}" in said
    home.unlink()
    stages(copied).calibrate()
    assert Bank.user().records() == Bank(copied / "bank.jsonl").records()


def test_a_damaged_bank_of_the_run_stops_it(copied: Path) -> None:
    (copied / "bank.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"line 1 of .*copied/bank\.jsonl is damaged"):
        stages(copied).calibrate()
    (copied / "bank.jsonl").unlink()
    stages(copied).calibrate()
    assert len(Bank(copied / "bank.jsonl").records()) == len(measured(copied))
