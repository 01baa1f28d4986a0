"""Commands with predictors other than the default."""

from __future__ import annotations

import json
from pathlib import Path

from cli_commands import TINY, Command

QUICK = ("calibration.samples=4", "calibration.holdout=3", "calibration.max_seconds=0.1")


def test_one_command_builds_the_block_table_and_goes_on_from_it(command: Command, tmp_path: Path) -> None:
    settings = [f"directory={tmp_path / 'run'}", "calibration.predictor=lookup_table", *QUICK]
    arguments = ["calibrate", TINY, "--json", *(f"--set={text}" for text in settings)]
    found = command(*arguments)
    assert found.code == 0, found.err
    file = tmp_path / "run" / "calibration" / "blocks" / "local.json"
    table = json.loads(file.read_text())
    assert len(table["latency_ms"]) > 20
    assert min(table["latency_ms"].values()) > 0
    kept = dict([*table["latency_ms"].items()][:-2])
    file.write_text(json.dumps(table | {"latency_ms": kept}))  # as if stopped before the last two
    found = command(*arguments)
    assert found.code == 0, found.err
    again = json.loads(file.read_text())["latency_ms"]
    assert again.keys() == table["latency_ms"].keys()
    assert {name: again[name] for name in kept} == kept
    file.write_text("{")
    found = command(*arguments)
    assert found.code == 2
    assert found.err.count("error: ") == 1
    assert "local.json" in found.err


def test_a_roofline_is_calibrated_without_samples(command: Command, tmp_path: Path) -> None:
    settings = [f"directory={tmp_path / 'run'}", "calibration.predictor=roofline", *QUICK]
    found = command("calibrate", TINY, "--samples=0", "--json", *(f"--set={text}" for text in settings))
    assert found.code == 0, found.err
    assert "0 networks measured, on 3 others" in found.err
    saved = json.loads((tmp_path / "run" / "calibration" / "local.json").read_text())
    assert saved["reference"] == []
    assert len(saved["holdout"]) == 3


def test_predictors_are_compared_and_the_device_is_measured_on(command: Command, tmp_path: Path) -> None:
    settings = [f"directory={tmp_path / 'run'}", "calibration.max_samples=6", *QUICK]
    found = command("calibrate", TINY, "--until-error=0.01", "--json", *(f"--set={text}" for text in settings))
    assert found.code == 0, found.err
    assert "6 networks, as many as are allowed, were not enough" in found.err
    assert "predictors on the same held-out networks" in found.out
    assert found.data["refinement"]["added"] == 2
    predictors = found.data["predictors"]
    assert {"gaussian_process", "nonnegative", "roofline"} <= set(predictors)
    assert predictors[found.data["predictor"]].items() >= found.data["errors"].items()
    saved = json.loads((tmp_path / "run" / "calibration" / "local.json").read_text())
    assert len(saved["reference"]) == 6
    for bank in (tmp_path / "run", tmp_path / "home"):
        assert len((bank / "bank.jsonl").read_text().splitlines()) == 9


def test_bad_bounds_are_said_before_anything_is_measured(command: Command, tmp_path: Path) -> None:
    settings = [f"--set=directory={tmp_path / 'run'}"]
    for arguments, message in ((["--until-error=0"], "above 0 %"), (["--until-error=5", "--samples=2"], "3 samples")):
        found = command("calibrate", TINY, *arguments, *settings)
        assert found.code == 2
        assert message in found.err
    assert not (tmp_path / "run" / "bank.jsonl").exists()


def test_a_damaged_bank_of_the_user_is_said_and_the_calibration_goes_on(command: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bank.jsonl").write_text("{}\n")
    settings = [f"directory={tmp_path / 'run'}", *QUICK]
    found = command("calibrate", TINY, *(f"--set={text}" for text in settings))
    assert found.code == 0, found.err
    assert "Predictors learn nothing from the devices that you measured before" in found.err
    assert (tmp_path / "home" / "bank.jsonl").read_text() == "{}\n"
