"""Parquet files, read and written by pandas and pyarrow without our code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bank_records import marks, record

from latency_predictors import Bank, Record
from latency_predictors.parquet import read_parquet, write_parquet
from search_spaces import SearchSpace

pandas = pytest.importorskip("pandas")
arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def records(tiny: SearchSpace) -> list[Record]:
    nothing = {"latency_ms": None, "median_ms": None, "samples_ms": (), "repeat_error": None}
    return [
        record(tiny, latency_ms=0.1 + 0.2, samples_ms=(1 / 3, 2 / 3, 1.0)),
        record(tiny, 1, device="other", samples_ms=(), batch=8),
        record(tiny, 2, **nothing, failure="hang: no answer, 30 s"),
        record(tiny, 3, fingerprint=marks(time="2026-07-01T02:03:04.567+02:00", runtime_version=None)),
    ]


@pytest.fixture
def file(tmp_path: Path, records: list[Record]) -> Path:
    write_parquet(tmp_path / "bank.parquet", records)
    return tmp_path / "bank.parquet"


def test_nothing_is_lost(file: Path, records: list[Record]) -> None:
    assert read_parquet(file) == records


def test_pandas_reads_plain_columns(file: Path, records: list[Record]) -> None:
    table = pandas.read_parquet(file)
    assert table.latency_ms[0] == 0.1 + 0.2
    assert np.isnan(table.latency_ms[2])
    np.testing.assert_array_equal(table.samples_ms[0], [1 / 3, 2 / 3, 1.0])
    assert list(table.batch) == [1, 8, 1, 1]
    assert list(table.device) == ["board", "other", "board", "board"]
    assert list(table.device_id) == [one.device_id for one in records]
    assert table.failure[2] == "hang: no answer, 30 s"
    assert str(table.time[3]) == "2026-07-01 00:03:04.567000+00:00"
    for name in ("architecture", "options", "protocol", "fingerprint"):
        assert [json.loads(text) for text in table[name]] == [dict(getattr(one, name)) for one in records]


def test_the_types_are_those_of_public_tools(file: Path) -> None:
    types = {field.name: str(field.type) for field in parquet.read_schema(file)}
    assert types.pop("batch") == "int64"
    assert types.pop("time") == "timestamp[us, tz=UTC]"
    assert types.pop("samples_ms") in ("list<element: double>", "list<item: double>")
    assert {name for name, kind in types.items() if kind == "double"} == {"latency_ms", "median_ms", "repeat_error"}
    assert set(types.values()) == {"double", "string"}


def test_what_pandas_chose_is_read(file: Path, records: list[Record], tmp_path: Path) -> None:
    table = pandas.read_parquet(file)
    table["note"] = "mine"
    table[table.device == "board"].to_parquet(tmp_path / "chosen.parquet")  # with an index, and other kinds of text
    assert read_parquet(tmp_path / "chosen.parquet") == [records[0], *records[2:]]


def test_a_bank_that_is_imported_twice_counts_once(file: Path, records: list[Record], tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.jsonl")
    bank.append(records[:1])
    assert bank.append(read_parquet(file)) == 3
    assert bank.append(read_parquet(file)) == 0
    assert bank.records() == records


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("latency_ms", -1.0, "latency_ms of a record is a positive number"),
        ("latency_ms", None, "latency_ms of a record is a positive number, or a failure"),
        ("latency_ms", float("nan"), "latency_ms of a record is"),
        ("failure", "crash", "failure of a record is given without latencies"),
        ("samples_ms", [1.0, None], "samples_ms of a record is"),
        ("samples_ms", None, "samples_ms of a record is"),
        ("device", None, "device of a record is"),
        ("device", "other", "device_id is board@"),
        ("batch", None, "batch of a record is"),
        ("architecture", "{", "Expecting property name"),
        ("architecture", "[]", "architecture of a record is an object"),
        ("options", None, "options of a record is an object"),
        ("fingerprint", "{}", "fingerprint of a record is one with its time"),
        ("runtime_version", "2.0", "runtime_version is 2.0, but its fingerprint says 1.31.1"),
        ("time", None, "time is None, but its fingerprint says 2026-01-01"),
    ],
)
def test_one_wrong_row_is_named(file: Path, tiny: SearchSpace, column: str, value: Any, message: str) -> None:
    write_parquet(file, [record(tiny, seed) for seed in range(3)])
    table = parquet.read_table(file)
    index = table.column_names.index(column)
    values = table.column(column).to_pylist()
    values[1] = value
    parquet.write_table(table.set_column(index, column, arrow.array(values, table.schema.field(column).type)), file)
    with pytest.raises(ValueError, match=f"row 2 of .*bank.parquet is not a measurement: .*{message}"):
        read_parquet(file)


def test_other_files_raise(file: Path, tmp_path: Path) -> None:
    table = parquet.read_table(file)
    parquet.write_table(table.drop_columns(["protocol", "phase"]), tmp_path / "less.parquet")
    with pytest.raises(ValueError, match="holds no measurements: it has no column phase, protocol"):
        read_parquet(tmp_path / "less.parquet")
    index = table.column_names.index("latency_ms")
    parquet.write_table(table.set_column(index, "latency_ms", [["fast"] * 4]), tmp_path / "typed.parquet")
    with pytest.raises(ValueError, match="a column of another type"):
        read_parquet(tmp_path / "typed.parquet")
    for name, content in (("empty", b""), ("text", b"device,latency_ms\n"), ("cut", file.read_bytes()[:-100])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as a Parquet file"):
            read_parquet(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "none.parquet")


def test_a_damaged_page_raises(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[200:400] = bytes(200)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"bank\.parquet"):
        read_parquet(file)


def test_a_missing_pyarrow_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    for attempt in (lambda: read_parquet(file), lambda: write_parquet(file, [])):
        with pytest.raises(ModuleNotFoundError, match=r"pyarrow is not installed: pip install 'nasmyth\[parquet\]'"):
            attempt()


def test_a_full_disk_keeps_the_older_file(small_disk: Path, tiny: SearchSpace, records: list[Record]) -> None:
    file = small_disk / "bank.parquet"
    write_parquet(file, records)
    samples_ms = tuple(np.random.default_rng(0).uniform(1, 2, 20_000).tolist())
    with pytest.raises(OSError, match=r"bank.parquet could not be written \(No space left on device\)"):
        write_parquet(file, [record(tiny, samples_ms=samples_ms)])
    assert read_parquet(file) == records
    assert [path.name for path in small_disk.iterdir()] == ["bank.parquet"]
