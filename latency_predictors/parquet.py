"""Measurements as a Parquet file of plain columns, for pandas, DuckDB and others."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

from latency_predictors.devices.backend import import_runtime
from latency_predictors.files import write_bytes
from latency_predictors.record import Record

_TEXT = ("device", "backend", "space", "space_fingerprint", "phase", "failure")
_NUMBERS = ("latency_ms", "median_ms", "repeat_error")
_OBJECTS = ("options", "architecture", "protocol", "fingerprint")
#: Columns that say again what is in `fingerprint`, so that nobody has to take it apart.
_REPEATED = ("device_id", "runtime_version", "time")


def write_parquet(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Write one row for each of `records`.

    Scalars are columns, `samples_ms` is a list of doubles, `time` a timestamp (UTC); `options`, `architecture`,
    `protocol` and `fingerprint` are JSON texts. `device_id`, `runtime_version` and `time` repeat what is in them.

    Raises:
        ModuleNotFoundError: when pyarrow is not installed.
        OSError: when the file cannot be written; an older one is kept.
    """
    arrow, parquet = _arrow()
    buffer = io.BytesIO()
    parquet.write_table(
        arrow.Table.from_pylist([_row(record) for record in records], schema=_schema(arrow)), buffer, compression="zstd"
    )
    write_bytes(path, buffer.getvalue())


def read_parquet(path: str | os.PathLike[str]) -> list[Record]:
    """The records in a file that `write_parquet`, or another program, wrote. Further columns are passed over.

    Raises:
        ModuleNotFoundError: when pyarrow is not installed.
        OSError: when there is no such file.
        ValueError: when it is not a Parquet file, lacks a column, or a row is not a measurement, naming it.
    """
    arrow, parquet = _arrow()
    schema = _schema(arrow)
    content = Path(path).read_bytes()
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet file: {error}") from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} holds no measurements: it has no column {', '.join(missing)}")
    try:
        rows = table.select(schema.names).cast(schema).to_pylist()
    except arrow.ArrowException as error:
        raise ValueError(f"{path} has a column of another type than 'nas bank export' writes: {error}") from error
    return [_record(path, number, row) for number, row in enumerate(rows, start=1)]


def _arrow() -> tuple[Any, Any]:
    package = "'nasmyth[parquet]'"
    return import_runtime("pyarrow", package), import_runtime("pyarrow.parquet", package)


def _schema(arrow: Any) -> Any:
    text, number = arrow.string(), arrow.float64()
    types = {
        **dict.fromkeys((*_TEXT, *_OBJECTS, "device_id", "runtime_version"), text),
        **dict.fromkeys(_NUMBERS, number),
        "batch": arrow.int64(),
        "samples_ms": arrow.list_(number),
        "time": arrow.timestamp("us", tz="UTC"),
    }
    order = (
        "device", "device_id", "backend", "runtime_version", "space", "space_fingerprint", "phase", "batch", "time",
        *_NUMBERS, "failure", *_OBJECTS, "samples_ms",
    )  # fmt: skip
    return arrow.schema([(name, types[name]) for name in order])


def _row(record: Record) -> dict[str, Any]:
    objects = {name: json.dumps(dict(getattr(record, name)), allow_nan=False) for name in _OBJECTS}
    plain = {name: getattr(record, name) for name in (*_TEXT, *_NUMBERS, "batch")}
    return {**plain, **objects, **_repeated(record), "samples_ms": list(record.samples_ms)}


def _repeated(record: Record) -> dict[str, Any]:
    return {
        "device_id": record.device_id,
        "runtime_version": record.runtime_version,
        "time": record.time.astimezone(UTC),
    }


def _record(path: str | os.PathLike[str], number: int, row: dict[str, Any]) -> Record:
    try:
        objects = {name: json.loads(row[name] or "null") for name in _OBJECTS}
        plain = {name: value for name, value in row.items() if name not in _REPEATED}
        record = Record.from_values({**plain, **objects})
        for name, value in _repeated(record).items():
            if row[name] != value:
                raise ValueError(f"{name} is {row[name]}, but its fingerprint says {value}")
    except ValueError as error:
        raise ValueError(f"row {number} of {path} is not a measurement: {error}") from error
    return record
