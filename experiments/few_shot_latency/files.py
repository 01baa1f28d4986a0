"""Tables from files, and further columns joined to them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

#: Columns that can name a row.
KEYS = ("arch_idx", "ops")
#: Columns that are text whatever they look like: `012345` is an architecture, not a number.
TEXTS = ("ops", "arch_str", "ks", "e", "d", "k", "l", "se", "task", "device")


def read(path: str | os.PathLike[str]) -> Any:
    """The table in a file `*.parquet` or `*.csv`.

    Raises:
        OSError: when there is no such file.
        ValueError: when it cannot be read, or is of another kind.
    """
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    suffix = Path(path).suffix
    if suffix not in readers:
        raise ValueError(f"{path} is no table: expected a file *.parquet or *.csv")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return readers[suffix](path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} cannot be read as a {suffix[1:]} file: {error}") from error


def _read_parquet(path: str | os.PathLike[str]) -> Any:
    return pyarrow.parquet.read_table(path)


def _read_csv(path: str | os.PathLike[str]) -> Any:
    types = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(TEXTS, pyarrow.string()))
    return pyarrow.csv.read_csv(path, convert_options=types)


def join(table: Any, more: Any, name: str) -> Any:
    """`table` with the further columns of `more`: matched by `arch_idx` or `ops` where both have it, else by row order.

    A row of `table` that `more` does not have is empty in the new columns. Columns that name or describe the row stay
    those of `table`.

    Args:
        table: what is joined to.
        more: what is joined.
        name: of `more`, for messages.

    Raises:
        ValueError: when rows do not match, or a device is in both.
    """
    keys = [key for key in KEYS if key in table.column_names and key in more.column_names]
    rows = _by_key(table, more, keys[0], name) if keys else _by_order(table, more, name)
    for key in keys[1:]:
        ours, theirs = _text(table[key].to_pylist()), _text(more[key].to_pylist())
        for mine, row in zip(ours, rows, strict=True):
            if row is not None and theirs[row] != mine:
                raise ValueError(
                    f"the rows of {name} are others: {keys[0]} is the same where {key} is {mine} and {theirs[row]}"
                )
    taken = more.take(pyarrow.array(rows, type=pyarrow.int64()))
    for column in more.column_names:
        if column not in table.column_names:
            table = table.append_column(column, taken[column])
        elif column not in keys and not _equal(table[column], taken[column]):
            raise ValueError(f"column {column!r} of {name} is in the table already, with other values: rename it")
    return table


def _by_order(table: Any, more: Any, name: str) -> list[int | None]:
    if len(table) != len(more):
        raise ValueError(
            f"{name} has {len(more)} rows and the table {len(table)}: to join fewer or other rows, "
            f"give both a column {' or '.join(KEYS)}"
        )
    return list(range(len(more)))


def _by_key(table: Any, more: Any, key: str, name: str) -> list[int | None]:
    theirs = _text(more[key].to_pylist())
    place = {value: row for row, value in enumerate(theirs)}
    if len(place) < len(theirs):
        raise ValueError(f"{name} has rows with the same {key}, so that it cannot be joined by it")
    ours = _text(table[key].to_pylist())
    unknown = place.keys() - set(ours)
    if unknown:
        raise ValueError(
            f"{len(unknown)} rows of {name} are not in the table, such as {key} {min(unknown)}: is it of another space?"
        )
    return [place.get(value) for value in ours]


def _text(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _equal(ours: Any, theirs: Any) -> bool:
    """Whether what `theirs` holds is the same as in `ours`; rows that it does not have are passed over."""
    return all(b is None or _same(a, b) for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True))


def _same(a: object, b: object) -> bool:
    """Numbers may have been rounded on their way through a file."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-5)
    return a == b
