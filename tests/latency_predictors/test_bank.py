from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency_predictors import Bank, Record
from search_spaces import SearchSpace


def record(space: SearchSpace, seed: int = 0, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "device": "board",
        "space": space.name,
        "space_fingerprint": space.fingerprint,
        "phase": "inference",
        "architecture": space.sample(seed + 1, seed=0)[seed].values,
        "latency_ms": 1.0 + seed,
        "median_ms": 1.5 + seed,
        "samples_ms": (1.0 + seed, 2.0 + seed),
        "repeat_error": 0.01,
        "batch": 1,
        "protocol": {"rounds": 12},
        "fingerprint": {"processor": "a", "time": "2026-01-01T00:00:00.000+00:00"},
    }
    return Record(**fields | changes)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank.jsonl")


def test_what_is_appended_is_read(bank: Bank, tiny: SearchSpace) -> None:
    assert bank.records() == []
    records = [record(tiny, seed) for seed in range(3)]
    bank.append(records[:2])
    bank.append(records[2:])
    assert bank.records() == records
    lines = bank.path.read_text().splitlines()
    assert [json.loads(line)["latency_ms"] for line in lines] == [1, 2, 3]


def test_appending_nothing_changes_nothing(bank: Bank) -> None:
    bank.append([])
    assert bank.path.read_bytes() == b""
    assert bank.records() == []


def test_records_are_chosen(bank: Bank, tiny: SearchSpace, convnet: SearchSpace) -> None:
    records = [record(tiny), record(tiny, device="other"), record(convnet), record(tiny, phase="decode")]
    bank.append(records)
    assert bank.records(device="other") == [records[1]]
    assert bank.records(space=convnet) == [records[2]]
    assert bank.records(phase="decode") == [records[3]]
    assert bank.records("board", tiny, "inference") == [records[0]]
    assert bank.records("board", convnet, "decode") == []


def test_duplicates_are_merged_and_repeated_sessions_are_not(bank: Bank, tiny: SearchSpace) -> None:
    first = record(tiny)
    reordered = replace(first, architecture=dict(reversed(list(first.architecture.items()))))
    later = replace(first, fingerprint={**first.fingerprint, "time": "2026-01-02T00:00:00.000+00:00"})
    bank.append([first, first, reordered, later])
    assert bank.records() == [first, later]


@pytest.mark.parametrize("left", [1, 20, -1])
def test_an_unfinished_last_line_is_ignored_and_repaired(bank: Bank, tiny: SearchSpace, left: int) -> None:
    bank.append([record(tiny)])
    whole = bank.path.read_bytes()
    bank.path.write_bytes(whole + (record(tiny, 1).to_json() + "\n").encode()[:left])
    with pytest.warns(UserWarning, match="unfinished"):
        assert bank.records() == [record(tiny)]
    bank.append([record(tiny, 2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bank.records() == [record(tiny), record(tiny, 2)]
    assert bank.path.read_bytes().startswith(whole)


def test_a_file_that_is_one_unfinished_line_is_repaired(bank: Bank, tiny: SearchSpace) -> None:
    bank.path.write_bytes(b'{"device": "bo')
    bank.append([record(tiny)])
    assert bank.records() == [record(tiny)]


@pytest.mark.parametrize(
    "damage",
    [b"{", b"[]", b"{}", b"", b"\xff", b'{"device": "board"}', b"null"],
)
def test_any_other_damaged_line_raises_and_is_named(bank: Bank, tiny: SearchSpace, damage: bytes) -> None:
    bank.append([record(tiny)])
    bank.path.write_bytes(bank.path.read_bytes() + damage + b"\n")
    bank.append([record(tiny, 1)])
    with pytest.raises(ValueError, match=r"line 2 of .*bank.jsonl is damaged"):
        bank.records()


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_ms": 0.0},
        {"latency_ms": float("nan")},
        {"median_ms": "fast"},
        {"samples_ms": (1.0, -1.0)},
        {"fingerprint": {}},
        {"architecture": [1, 2]},
    ],
)
def test_impossible_records_raise(bank: Bank, tiny: SearchSpace, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="record"):
        record(tiny, **changes)
    line = json.dumps(json.loads(record(tiny).to_json()) | changes)
    bank.path.write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1"):
        bank.records()


@pytest.mark.parametrize("changes", [{"samples_ms": 3}, {"fingerprint": 3}, {"extra": 1}])
def test_lines_with_other_fields_raise(bank: Bank, tiny: SearchSpace, changes: dict[str, Any]) -> None:
    bank.path.write_text(json.dumps(json.loads(record(tiny).to_json()) | changes) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        bank.records()


def append_many(path: Path, records: list[Record]) -> None:
    for one in records:
        Bank(path).append([one, one])


def test_processes_append_at_the_same_time(bank: Bank, tiny: SearchSpace) -> None:
    samples_ms = tuple(float(value) for value in range(1, 2000))  # lines longer than any buffer of the system
    records = [record(tiny, device=f"device{number}", samples_ms=samples_ms) for number in range(40)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(bank.path, records[start::4])) for start in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(one.device for one in bank.records()) == sorted(one.device for one in records)
    assert bank.path.read_bytes().count(b"\n") == 80


def test_a_full_disk_leaves_the_bank_as_it_was(bank: Bank, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    bank.append([record(tiny)])
    before, write = bank.path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(OSError, match="is the disk full"):
        bank.append([record(tiny, 1)])
    monkeypatch.undo()
    assert bank.path.read_bytes() == before
