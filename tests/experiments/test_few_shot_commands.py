"""The commands: one JSON object last, tables for people, and plain sentences for wrong use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from few_shot_tables import fbnet_table, write

from experiments.few_shot_latency import __main__ as command
from experiments.few_shot_latency import tables
from experiments.few_shot_latency.tasks import TASKS
from search_spaces import SearchSpace

DEVICE = ("rho", "rho80", "tau", "mdape", "coverage90")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = command.main(arguments)
    return code, *capsys.readouterr()


def fbnet(path: Path, **changes: str) -> list[str]:
    options = {
        "space": "fbnet", "table": str(path), "train-devices": "board,camera", "test-devices": "drone, phone",
        "samples": "8", "draws": "2", "method": "nonnegative", **changes,
    }  # fmt: skip
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def test_one_json_object_comes_last(fbnet_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *fbnet(fbnet_file), "--json")
    assert code == 0
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert list(result["devices"]) == ["drone", "phone"]
    for row in (*result["devices"].values(), result["mean"]):
        assert all(isinstance(row[name], float) for name in DEVICE)
    assert (result["samples"], result["draws"], result["protocol"]) == (8, 2, "help")
    assert result["calibration_ms"] > 0
    assert result["architectures_per_s"] > 0
    assert "| drone |" in err


def test_a_method_without_intervals_has_no_coverage(fbnet_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, *fbnet(fbnet_file, method="macs", samples="0", protocol="all"), "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["mean"]["coverage90"] is None
    assert result["samples"] == 0


def test_a_joined_device_can_be_the_unseen_one(
    fbnet_file: Path, fbnet_space: SearchSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(write(fbnet_table(fbnet_space, seed, (name,)), tmp_path / f"{name}.parquet")) for seed, name in enumerate(("tv", "car"))]  # fmt: skip
    arguments = fbnet(fbnet_file, **{"test-devices": "car", "train-devices": "board,tv"})
    code, out, _ = call(capsys, *arguments, "--join", *paths)
    assert code == 0
    assert "| car |" in out
    again = call(capsys, *arguments, "--join", paths[0], "--join", paths[1])[1]
    assert again.splitlines()[:-1] == out.splitlines()[:-1]  # the last line has times


def test_our_own_devices(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--space", "convnet", "--table", "shipped", "--test-devices", "tract,ncnn", "--method", "nonnegative"]
    code, out, _ = call(capsys, *arguments, "--draws", "2", "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert result["protocol"] == "all"
    assert result["train_devices"] == []
    for row in result["devices"].values():
        assert row["queries"] == 50
        assert 0.5 < row["rho_one_resolution"] < 1
        assert 0 < row["rho_given_macs"] < 1


def test_wrong_use_is_one_sentence(fbnet_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for changes, message in (
        ({"test-devices": "phones"}, "no device 'phones' (did you mean 'phone'?)"),
        ({"space": "fbnt"}, "no search space 'fbnt'"),
        ({"method": "macz"}, "no method 'macz' (did you mean 'macs'?)"),
        ({"table": "nowhere.parquet"}, "there is no file nowhere.parquet"),
        ({"join": "nowhere.csv"}, "there is no file nowhere.csv"),
        ({"method": "lookup_table"}, "measures parts of networks"),
    ):
        code, out, err = call(capsys, *fbnet(fbnet_file, **changes))
        assert (code, out) == (2, "")
        assert message in err
        assert "Traceback" not in err


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("rho80", "reference", "nonnegative", "low_rank", "--join", "examples"))


def test_all_tasks_of_a_table(
    fbnet_space: SearchSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [device for task in TASKS if task.space == "fbnet" for device in (*task.train, *task.test)]
    devices = tuple(sorted(set(named) - {"fpga"}))
    write(fbnet_table(fbnet_space, devices=devices), tmp_path / "latency" / "fbnet.parquet")
    arguments = ["--data", str(tmp_path), "--method", "macs", "nonnegative", "--draws", "1", "--json", "--devices"]
    assert tables.main([*arguments, "--tasks", "fbnet"]) == 0
    out = capsys.readouterr().out
    assert "FBNet F1: the table has no fpga" in out
    assert out.count("geometric mean of rho over the 6 tasks of fbnet") == 2
    assert "| - essential_ph_1 |" in out
    result = json.loads(out.splitlines()[-1])
    assert list(result) == ["macs", "nonnegative"]
    assert list(result["macs"]["FBNet F1"]["devices"]) == ["eyeriss", "raspi4", "samsung_a50", "samsung_s7"]
    assert len(result["macs"]["FBNet FA"]["train_devices"]) == 15


def test_each_own_device_in_its_turn_is_unseen(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "nowhere", "--method", "ridge_devices", "--draws", "1", "--json"]
    assert tables.main([*arguments, "--tasks", "all others known"]) == 0
    (result,) = json.loads(capsys.readouterr().out.splitlines()[-1])["ridge_devices"].values()
    assert len(result["devices"]) == 11
    assert result["train_devices"] == "all others"


def test_a_task_that_a_method_cannot_do_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", "nowhere", "--method", "ridge_devices", "macs", "--draws", "1", "--json"]
    assert tables.main([*arguments, "--tasks", "own devices, none known"]) == 1
    out = capsys.readouterr().out
    assert "own devices, none known: not run: method 'ridge_devices' needs training devices" in out
    result = json.loads(out.splitlines()[-1])
    assert "needs training devices" in result["ridge_devices"]["own devices, none known"]["error"]
    assert result["macs"]["own devices, none known"]["mean"]["rho"] > 0.5
    assert tables.main(["--data", "nowhere", "--method", "macs", "macz"]) == 2
    assert "no method 'macz'" in capsys.readouterr().err


def test_tables_without_data_or_tasks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASMYTH_DATA", raising=False)
    assert tables.main(["--method", "macs"]) == 2
    assert "--data DIR" in capsys.readouterr().err
    assert tables.main(["--method", "macs", "--data", "nowhere", "--tasks", "F9"]) == 2
    assert "no task is called so; there are NAS-Bench-201" in capsys.readouterr().err
    assert tables.main(["--method", "macs", "--data", "nowhere", "--tasks", "F1"]) == 2
    assert "there is no file nowhere/latency/fbnet.parquet" in capsys.readouterr().err
