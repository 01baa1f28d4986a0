"""A full disk and places that cannot be written: one sentence, nothing is lost, and the same command goes on later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_commands import TINY
from restricted import nas, permissions_apply, small_files

from latency_predictors import Bank
from nas.search.journal import JournalStore
from nas.search.storage import load

FULL = r"could not be written (File too large)"


def assert_told(found: tuple[int, str], *parts: str) -> None:
    """One sentence with these parts, and wrong use as the exit code."""
    code, said = found
    last = said.rstrip("\n").splitlines()[-1]
    assert code == 2, said
    assert last.startswith("error: ")
    assert "Traceback" not in said
    for part in parts:
        assert part in last


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder but locks, and the configuration, which names the folder of the run."""
    names = (path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml")
    files = [path for path in names if "lock" not in str(path.relative_to(folder))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def trials(run: Path) -> list[Any]:
    return [(t.number, t.params, t.values) for t in load(JournalStore(run / "study.journal")).get_trials()]


def without(run: Path, *names: str) -> Path:
    """A run of which some parts are gone."""
    for name in names:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


def test_no_room_for_the_study(finished: Path, copied: Path, tmp_path: Path) -> None:
    run = without(copied, "study.journal", "exports", "report.html")
    before = contents(run)
    half = (finished / "study.journal").stat().st_size // 2
    command = ["search", run]
    assert_told(nas(tmp_path, command, partial(small_files, half)), "study.journal", FULL, "make room and repeat")
    kept = contents(run)
    assert all(
        kept[name] == content for name, content in before.items() if name != "config.yaml"
    )  # it names its folder
    assert nas(tmp_path, command)[0] == 0
    assert [trial for trial in trials(run) if trial[2]] == trials(finished)


def test_no_room_for_a_training(copied: Path, tmp_path: Path) -> None:
    run = without(copied, "supernet.safetensors", "training.json", "study.journal", "exports", "report.html")
    before = contents(run)
    command = ["train", run, "--set", "training.checkpoint_seconds=0.001"]
    assert_told(
        nas(tmp_path, command, partial(small_files, 20_000)), str(run / "training.checkpoint"), FULL, "make room"
    )
    assert contents(run).keys() == before.keys()
    assert nas(tmp_path, command)[0] == 0
    assert (run / "supernet.safetensors").exists()


def test_no_room_for_measurements(copied: Path, tmp_path: Path) -> None:
    bank = Bank(without(copied, "study.journal", "exports", "report.html") / "bank.jsonl")
    # Larger than the models, which the device's process writes to a folder of its own.
    bank.append([replace(bank.records()[0], device="phone", samples_ms=(1.0,) * 100_000)])
    before = contents(copied)
    size = len(before["bank.jsonl"])
    command = ["calibrate", copied, "--device", "local", "--samples", "2", "--holdout", "2"]
    assert_told(nas(tmp_path, command, partial(small_files, size + 10)), "bank.jsonl", FULL, "make room and repeat")
    assert contents(copied) == before
    assert nas(tmp_path, command)[0] == 0
    assert (copied / "bank.jsonl").read_bytes().startswith(before["bank.jsonl"])


def test_no_room_for_an_export(copied: Path, tmp_path: Path) -> None:
    before = contents(copied)
    command = ["export", copied, "--to", copied / "exports" / "chosen"]
    assert_told(
        nas(tmp_path, command, partial(small_files, 20_000)), str(copied / "exports" / "chosen"), FULL, "make room"
    )
    assert contents(copied) == before
    assert nas(tmp_path, command)[0] == 0


def test_no_room_for_a_configuration(tmp_path: Path) -> None:
    command = ["run", TINY, "--set", f"directory={tmp_path / 'run'}"]
    found = nas(tmp_path, command, partial(small_files, 500))
    assert_told(found, str(tmp_path / "run" / "config.yaml"), FULL, "make room and repeat")
    assert not [path for path in (tmp_path / "run").iterdir() if path.name != "locks"]


def test_a_disk_that_is_really_full(finished: Path, small_disk: Path, tmp_path: Path) -> None:
    found = nas(tmp_path, ["export", finished, "--to", small_disk / "bundle"])
    assert_told(
        found, str(small_disk / "bundle"), "could not be written (No space left on device)", "make room and repeat"
    )
    assert not list(small_disk.iterdir())


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_a_run_where_nothing_can_be_written(closed: Path, tmp_path: Path) -> None:
    found = nas(tmp_path, ["run", TINY, "--set", f"directory={closed / 'run'}"], permissions_apply)
    assert_told(found, str(closed / "run"), "could not be written (Permission denied)", "or choose another place")


def test_an_export_where_nothing_can_be_written(finished: Path, closed: Path, tmp_path: Path) -> None:
    found = nas(tmp_path, ["export", finished, "--to", closed / "bundle"], permissions_apply)
    assert_told(found, str(closed / "bundle"), "could not be written (Permission denied)", "or choose another place")
    assert not list(closed.iterdir())


def test_a_home_where_nothing_can_be_written(closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_HOME", str(closed / "home"))
    found = nas(tmp_path, ["device", "add", "phone"], permissions_apply)
    assert_told(found, str(closed / "home"), "(Permission denied)", "NASMYTH_HOME names the folder of devices")


def test_the_front_of_a_run_that_may_only_be_read(copied: Path, tmp_path: Path) -> None:
    """As of a colleague's, even when a killed worker left half a line in its study."""
    assert nas(tmp_path, ["front", copied])[0] == 0
    expected = (tmp_path / "stdout").read_text()
    with (copied / "study.journal").open("a") as file:
        file.write('{"op_code": 6, "wor')
    paths = [copied, *copied.rglob("*")]
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert nas(tmp_path, ["front", copied], permissions_apply) == (0, "")
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)
    assert (tmp_path / "stdout").read_text() == expected
