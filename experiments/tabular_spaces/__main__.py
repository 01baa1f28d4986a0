"""`python -m experiments.tabular_spaces --data DIR`: MACs and parameters of two spaces against all rows of published tables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

import search_spaces
from search_spaces.space import Codes
from search_spaces.tabular import fbnet, nasbench201

CODES: dict[str, Callable[[Sequence[str]], Codes]] = {"nasbench201": nasbench201.codes_of, "fbnet": fbnet.codes_of}


def compare(name: str, quantity: str, column: NDArray[np.float32], found: NDArray[np.float64]) -> bool:
    """Print how far `found` (units) is from a column in millions; whether they are equal after the column's rounding."""
    largest = np.abs(column.astype(np.float64) * 1e6 - found).max()
    differing = int((column != (found / 1e6).astype(column.dtype)).sum())
    print(
        f"{name} {quantity}: {len(column):,} rows from {int(found.min()):,} to {int(found.max()):,}, largest difference "
        f"{largest:.3g}, rows that differ after rounding to {column.dtype}: {differing}"
    )
    return differing == 0


def check(name: str, path: Path) -> bool:
    """Compare every row of the table at `path` with the space `name`."""
    table = pyarrow.parquet.read_table(path, columns=["ops", "macs_m", "params_m"])
    space, codes = search_spaces.get(name), CODES[name](table["ops"].to_pylist())
    started = perf_counter()
    macs, parameters = space.macs(codes), space.parameters(codes)
    first = perf_counter() - started
    seconds = []
    for _ in range(7):
        started = perf_counter()
        space.features(codes)
        seconds.append(perf_counter() - started)
    print(f"{name}: tracing {first:.1f} s, then {len(codes) / min(seconds):,.0f} rows of features a second")
    equal = [
        compare(name, "MACs", table["macs_m"].to_numpy(), macs),
        compare(name, "parameters", table["params_m"].to_numpy(), parameters),
    ]
    return all(equal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    equal = [check(name, Path(arguments.data) / "latency" / f"{name}.parquet") for name in CODES]
    if not all(equal):
        sys.exit("the spaces do not have the MACs and parameters of the tables")


if __name__ == "__main__":
    main()
