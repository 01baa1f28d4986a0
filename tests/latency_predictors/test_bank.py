from __future__ import annotations

import json
import multiprocessing
import os
import signal
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bank_records import record

from latency_predictors import Bank, Device, Measurement, Record
from latency_predictors.devices.measuring import Protocol
from latency_predictors.record import records_of
from search_spaces import SearchSpace


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
    assert bank.append([]) == 0
    assert bank.records() == []
    assert bank.path.read_bytes() == b""


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
    without_samples = replace(first, samples_ms=())
    later = replace(first, fingerprint={**first.fingerprint, "time": "2026-01-02T00:00:00.000+00:00"})
    other_zone = replace(first, fingerprint={**first.fingerprint, "time": "2026-01-01T02:00:00.000+02:00"})
    assert bank.append([first, first, reordered, later]) == 2
    before = bank.path.stat().st_mtime_ns
    assert bank.append([later, without_samples, other_zone]) == 0
    assert bank.path.stat().st_mtime_ns == before
    assert bank.append([other := replace(first, latency_ms=9.0), later]) == 1
    assert bank.records() == [first, later, other]
    bank.path.write_bytes(bank.path.read_bytes() * 2)  # as `cat` of two banks gives
    assert bank.records() == [first, later, other]


def test_the_bank_of_the_user_is_beside_the_devices(home: Path, tiny: SearchSpace) -> None:
    assert Bank.user().records() == []
    assert not home.exists()
    Bank.user().append([record(tiny)])
    assert Device("board").save().parent.parent == home
    assert Bank(home / "bank.jsonl").records() == [record(tiny)]


@pytest.mark.parametrize("left", [1, 20, -10])
def test_an_unfinished_last_line_is_ignored_and_repaired(bank: Bank, tiny: SearchSpace, left: int) -> None:
    bank.append([record(tiny)])
    whole = bank.path.read_bytes()
    bank.path.write_bytes(whole + (record(tiny, 1).to_json() + "\n").encode()[:left])
    with pytest.warns(UserWarning, match="unfinished"):
        assert bank.records() == [record(tiny)]
    with pytest.warns(UserWarning, match="unfinished"):
        assert bank.append([record(tiny, 2)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bank.records() == [record(tiny), record(tiny, 2)]
    assert bank.path.read_bytes().startswith(whole)


def test_a_last_line_that_lacks_its_end_alone_is_kept(bank: Bank, tiny: SearchSpace) -> None:
    records = [record(tiny, seed) for seed in range(3)]
    bank.append(records[:2])
    whole = bank.path.read_bytes()
    bank.path.write_bytes(whole[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bank.records() == records[:2]
        bank.append(records)
        assert bank.records() == records
    assert bank.path.read_bytes().startswith(whole)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_of_a_file_cut_anywhere_all_whole_lines_are_kept(bank: Bank, tiny: SearchSpace, share: float) -> None:
    records = [record(tiny, seed) for seed in range(5)]
    bank.append(records)
    content = bank.path.read_bytes()
    bank.path.write_bytes(content[: int(share * len(content))])
    with pytest.warns(UserWarning, match="unfinished"):
        kept = bank.records()
    assert kept == records[: content[: int(share * len(content))].count(b"\n")]
    with pytest.warns(UserWarning, match="unfinished"):
        assert bank.append(records) == 5 - len(kept)  # the command that was interrupted, repeated
    assert bank.path.read_bytes() == content


def test_a_piece_missing_from_the_middle_names_the_line(bank: Bank, tiny: SearchSpace) -> None:
    bank.append([record(tiny, seed) for seed in range(5)])
    lines = bank.path.read_bytes().splitlines(keepends=True)
    bank.path.write_bytes(lines[0] + lines[1][:50] + lines[2][90:] + b"".join(lines[3:]))
    with pytest.raises(ValueError, match=r"line 2 of .*bank.jsonl is damaged.*mend that line or delete it"):
        bank.records()


def test_a_file_that_is_one_unfinished_line_is_repaired(bank: Bank, tiny: SearchSpace) -> None:
    bank.path.write_bytes(b'{"device": "bo')
    with pytest.warns(UserWarning, match="unfinished"):
        bank.append([record(tiny)])
    assert bank.records() == [record(tiny)]


@pytest.mark.parametrize(
    "damage",
    [b"{", b"[]", b"{}", b"", b"\xff", b'{"device": "board"}', b"null"],
)
def test_any_other_damaged_line_raises_and_is_named(bank: Bank, tiny: SearchSpace, damage: bytes) -> None:
    bank.append([record(tiny), record(tiny, 1)])
    first, second = bank.path.read_bytes().splitlines(keepends=True)
    bank.path.write_bytes(first + damage + b"\n" + second)
    before = bank.path.read_bytes()
    for attempt in (bank.records, bank.devices, lambda: bank.append([record(tiny, 2)])):
        with pytest.raises(ValueError, match=r"line 2 of .*bank.jsonl is damaged: .*; nothing was changed"):
            attempt()
    assert bank.path.read_bytes() == before
    bank.path.write_bytes(first + second)  # as the message says
    assert bank.records() == [record(tiny), record(tiny, 1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"latency_ms": 0.0},
        {"latency_ms": float("nan")},
        {"median_ms": "fast"},
        {"samples_ms": (1.0, -1.0)},
        {"latency_ms": None},
        {"latency_ms": True},
        {"median_ms": None},
        {"repeat_error": None},
        {"repeat_error": -0.1},
        {"fingerprint": {}},
        {"fingerprint": {"time": "yesterday"}},
        {"fingerprint": {"time": "2026-01-01T00:00:00"}},
        {"architecture": [1, 2]},
        {"architecture": {"depth": [1, 2]}},
        {"options": None},
        {"device": ""},
        {"device": "local@1a2b3c4d"},
        {"backend": 3},
        {"batch": 0},
        {"batch": 1.5},
        {"batch": "1"},
        {"failure": "hang: no answer within 30 s"},
        {"failure": "", "latency_ms": None, "median_ms": None, "samples_ms": (), "repeat_error": None},
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


def failed(space: SearchSpace, **changes: Any) -> Record:
    nothing = {"latency_ms": None, "median_ms": None, "samples_ms": (), "repeat_error": None}
    return record(space, **{**nothing, "failure": "hang: no answer within 30 s", **changes})


def test_a_failure_is_a_record(bank: Bank, tiny: SearchSpace) -> None:
    assert bank.append([record(tiny), failed(tiny), failed(tiny)]) == 2
    assert bank.records() == [record(tiny), failed(tiny)]
    (device,) = bank.devices()
    assert (device.networks, device.failures) == (1, 1)


def test_a_line_without_the_key_failure_is_read(bank: Bank, tiny: SearchSpace) -> None:
    values = json.loads(record(tiny).to_json())
    del values["failure"]
    bank.path.write_text(json.dumps(values) + "\n")
    assert bank.records() == [record(tiny)]


class Hang:
    kind, reason, samples_ms = "hang", "no answer within 30 s", (2.0,)


def test_results_of_measuring_become_records(tiny: SearchSpace) -> None:
    device = Device("board", options={"threads": 2})
    architectures = tiny.sample(2, seed=0)
    marks = {"time": "2026-01-01T00:00:00.000+00:00", "runtime_version": "1.31.1"}
    results = [Measurement(1.0, 2.0, (1.0, 3.0), 0.01, True), Hang()]
    good, bad = records_of(device, tiny, "inference", 4, architectures, results, Protocol(rounds=5), marks)
    assert (good.latency_ms, good.median_ms, good.samples_ms, good.failure) == (1.0, 2.0, (1.0, 3.0), None)
    assert (bad.latency_ms, bad.samples_ms, bad.failure) == (None, (2.0,), "hang: no answer within 30 s")
    for one, architecture in ((good, architectures[0]), (bad, architectures[1])):
        assert (one.device, one.backend, one.options, one.batch) == ("board", "onnxruntime", {"threads": 2}, 4)
        assert one.architecture == architecture.values
        assert one.protocol["rounds"] == 5
        assert one.runtime_version == "1.31.1"
        assert one.time == datetime(2026, 1, 1, tzinfo=UTC)
        assert Record.from_json(one.to_json()) == one


def append_many(path: Path, records: list[Record]) -> None:
    for one in records:
        Bank(path).append([one, one])


def test_processes_append_at_the_same_time(bank: Bank, tiny: SearchSpace) -> None:
    samples_ms = tuple(float(value) for value in range(1, 2000))  # lines longer than any buffer of the system
    records = [record(tiny, device=f"device{number}", samples_ms=samples_ms) for number in range(24)]
    shares = [records[:10], records[5:15], records[10:20], records[14:]]  # each is appended by one process or two
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(bank.path, share)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(one.device for one in bank.records()) == sorted(one.device for one in records)
    assert bank.path.read_bytes().count(b"\n") == len(records)


def append_forever(path: Path, first: Record) -> None:
    for second in range(1, 10**6):
        time = datetime.fromtimestamp(second, UTC).isoformat()
        Bank(path).append([replace(first, fingerprint={"time": time})])


def test_a_killed_process_loses_nothing_that_it_had_appended(bank: Bank, tiny: SearchSpace) -> None:
    samples_ms = tuple(float(value) for value in range(1, 2000))
    bank.append([record(tiny)])
    for _ in range(3):
        before = bank.records()
        worker = multiprocessing.get_context("fork").Process(
            target=append_forever, args=(bank.path, record(tiny, 1, samples_ms=samples_ms))
        )
        worker.start()
        while bank.path.stat().st_size < 20_000 * (len(before) + 2):
            assert worker.is_alive()
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # there may be an unfinished line
            assert bank.records()[: len(before)] == before
            bank.append([record(tiny, 2)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(bank.records()) > len(before)


def test_a_full_disk_leaves_the_bank_as_it_was(small_disk: Path, tiny: SearchSpace) -> None:
    bank = Bank(small_disk / "bank.jsonl")
    bank.append([record(tiny)])
    before = bank.path.read_bytes()
    many = [record(tiny, seed, samples_ms=(1.0,) * 2000) for seed in range(1, 20)]
    assert sum(len(one.to_json()) for one in many) > 100_000
    with pytest.raises(OSError, match=r"bank.jsonl could not be written \(No space left.*nothing was added: make room"):
        bank.append(many)
    assert bank.path.read_bytes() == before
    bank.append([record(tiny, 1)])
    assert bank.records() == [record(tiny), record(tiny, 1)]


def test_a_short_write_is_continued_or_undone(bank: Bank, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    bank.append([record(tiny)])
    before = bank.path.read_bytes()
    assert before == (record(tiny).to_json() + "\n").encode()
    calls: list[int] = []

    def fill(handle: int, data: bytes) -> int:
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return write(handle, data[:10])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="nothing was added"):
        bank.append([record(tiny, 1)])
    assert bank.path.read_bytes() == before


def test_a_bank_that_cannot_be_opened_says_so(tmp_path: Path, tiny: SearchSpace) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"the bank .*file/bank.jsonl cannot be opened"):
        Bank(tmp_path / "file" / "bank.jsonl").append([record(tiny)])
    with pytest.raises(OSError, match="cannot be read: Is a directory"):
        Bank(tmp_path).records()
