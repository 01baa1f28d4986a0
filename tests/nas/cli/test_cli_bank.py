"""`nas bank`, and what `nas device list` says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_commands import TINY, Command, Start

from latency_predictors import Bank, Record


@pytest.fixture
def records(finished: Path) -> list[Record]:
    """The measurements of a run."""
    return Bank(finished / "bank.jsonl").records()


def changed(record: Record, **changes: object) -> Record:
    return replace(record, fingerprint={**record.fingerprint, **changes})


def words(text: str) -> str:
    """Without the frames of a table and its line breaks."""
    return " ".join(text.replace("│", " ").split())


def test_export_and_import_bring_a_bank_over(
    finished: Path, command: Command, records: list[Record], tmp_path: Path
) -> None:
    found = command("bank", "export", "all.parquet", "--run", finished)
    assert (found.code, found.out) == (0, f"measurements exported: {len(records)}, to all.parquet\n")
    pandas = pytest.importorskip("pandas")
    assert list(pandas.read_parquet(tmp_path / "all.parquet").latency_ms) == [one.latency_ms for one in records]
    bank = tmp_path / "home" / "bank.jsonl"
    for added in (len(records), 0):
        found = command("bank", "import", "all.parquet")
        assert found.code == 0
        assert found.out == f"measurements added: {added}, there already: {len(records) - added}, in {bank}\n"
    assert bank.read_bytes() == (finished / "bank.jsonl").read_bytes()
    assert command("bank", "export", "again.parquet").code == 0
    pandas.testing.assert_frame_equal(*(pandas.read_parquet(tmp_path / f"{n}.parquet") for n in ("all", "again")))


def test_a_wrong_row_imports_nothing(finished: Path, command: Command, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    command("bank", "export", "all.parquet", "--run", finished)
    table = pandas.read_parquet(tmp_path / "all.parquet")
    table.loc[3, "latency_ms"] = -1.0
    table.to_parquet(tmp_path / "all.parquet")
    found = command("bank", "import", "all.parquet")
    assert found.code == 2
    assert found.err.startswith("error: row 4 of all.parquet is not a measurement: latency_ms")
    assert not (tmp_path / "home" / "bank.jsonl").exists()


def test_list_tells_devices_apart(command: Command, records: list[Record]) -> None:
    empty = command("bank", "list", "--json")
    assert (empty.code, empty.data["devices"]) == (0, [])
    assert "is empty; 'nas calibrate'" in empty.out
    new = changed(records[0], runtime_version="9.9", time="2040-01-02T03:04:05+00:00")
    Bank.user().append([*records, new])
    found = command("bank", "list", "--json")
    assert [device["id"] for device in found.data["devices"]] == [records[0].device_id, new.device_id]
    assert [device["networks"] for device in found.data["devices"]] == [len(records), 1]
    for device in found.data["devices"]:  # names to be copied
        assert device["id"] in found.out
    assert "2040-01-02 03:04 UTC" in words(found.out)


def test_list_of_a_run(finished: Path, command: Command, records: list[Record]) -> None:
    found = command("bank", "list", "--run", finished, "--json")
    assert found.data["bank"] == str(finished / "bank.jsonl")
    (device,) = found.data["devices"]
    assert device["networks"] == len(records)


def test_device_list_shows_what_is_measured(command: Command, records: list[Record]) -> None:
    assert command("device", "add", "idle").code == 0
    found = command("device", "list", "--json")
    assert [device["bank"] for device in found.data["devices"]] == [{"conflict": False, "devices": []}] * 2
    foreign = replace(changed(records[0], time="2040-01-02T03:04:05+00:00"), device="[red]phone")
    Bank.user().append([*records, foreign])
    found = command("device", "list", "--json")
    idle, local = found.data["devices"]
    assert (idle["name"], idle["bank"]["devices"]) == ("idle", [])
    assert (local["name"], local["backend"], local["options"]) == ("local", "onnxruntime", {})
    assert local["bank"]["conflict"] is False
    (device,) = local["bank"]["devices"]
    assert (device["networks"], device["failures"]) == (len(records), 0)
    assert device["spaces"] == [records[0].space_id]
    assert device["last"] == records[0].time.isoformat()
    assert f"{len(records)} networks of convnet@" in words(found.out)
    assert "further devices: [red]phone" in found.out


def test_device_list_shows_conflicts(command: Command, records: list[Record]) -> None:
    new = changed(records[0], cores=99, time="2040-01-02T03:04:05+00:00")
    Bank.user().append([*records, new])
    found = command("device", "list", "--json")
    (local,) = found.data["devices"]
    assert local["bank"]["conflict"] is True
    assert [device["id"] for device in local["bank"]["devices"]] == [records[0].device_id, new.device_id]
    assert f"CONFLICT: {records[0].device_id}, {new.device_id} differ in cores" in words(found.out)


def test_calibrate_fills_both_banks(command: Command, tmp_path: Path) -> None:
    for number in (1, 2):  # a new session each time
        assert command("calibrate", TINY, "--samples", "4", "--holdout", "3").code == 0
        user, run = tmp_path / "home" / "bank.jsonl", tmp_path / "runs" / "tiny" / "bank.jsonl"
        assert user.read_bytes() == run.read_bytes()
        assert len(Bank.user().records("local")) == 7 * number
    lines = [json.loads(line) for line in user.read_text().splitlines()]
    assert len({line["fingerprint"]["time"] for line in lines}) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "all.parquet"), "is empty: there is nothing to export"),
        (("import", "none.parquet"), "No such file"),
        (("import", "text"), "text cannot be read as a Parquet file"),
        (("list", "--run", "nowhere"), "nowhere is not a run"),
    ],
)
def test_wrong_use_is_one_sentence(command: Command, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "text").write_text("device,latency_ms\n")
    found = command("bank", *words)
    assert found.code == 2
    assert message in found.err
    assert len(found.err.splitlines()) == 1


def test_a_damaged_bank_is_one_sentence(command: Command, records: list[Record], tmp_path: Path) -> None:
    Bank.user().append(records)
    file = tmp_path / "home" / "bank.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], b"{\n", *lines[2:]]))
    for arguments in (("bank", "list"), ("device", "list"), ("bank", "export", "all.parquet")):
        found = command(*arguments)
        assert found.code == 2
        assert found.err.startswith(f"error: line 3 of {file} is damaged")
        assert len(found.err.splitlines()) == 1


def test_an_unfinished_bank_is_one_sentence(start: Start, records: list[Record], tmp_path: Path) -> None:
    file = tmp_path / "home" / "bank.jsonl"
    Bank(file).append(records)
    file.write_bytes(file.read_bytes()[:-9])
    assert start("bank", "list", "--json").wait(60) == 0
    warning, *_, last = (tmp_path / "output-0").read_text().splitlines()
    assert warning == f"warning: the last line of {file} is unfinished (a crash while it was written) and left out"
    assert json.loads(last)["devices"][0]["networks"] == len(records) - 1
