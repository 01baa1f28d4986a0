"""`python -m experiments.tabular_spaces --data DIR`: MACs and parameters of spaces against all rows of published tables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

import search_spaces
from search_spaces import SearchSpace
from search_spaces.convnet import mobilenetv3
from search_spaces.space import Codes
from search_spaces.tabular import fbnet, nasbench201


@dataclass(frozen=True)
class Check:
    """A published table and what to compare with it.

    Attributes:
        file: name of the table without `.parquet`.
        space: name of the space.
        codes: gives the architectures of the rows.
        macs_m: column of the MACs in millions.
        params_m: column of the parameters in millions, where there is one.
    """

    file: str
    space: str
    codes: Callable[[SearchSpace, Any], Codes]
    macs_m: str = "macs_m"
    params_m: str | None = "params_m"


def _ofa(space: SearchSpace, table: Any) -> Codes:
    return mobilenetv3.codes_of(space, *(table[name].to_pylist() for name in ("ks", "e", "d", "r")))


CHECKS = (
    Check("nasbench201", "nasbench201", lambda space, table: nasbench201.codes_of(table["ops"].to_pylist())),
    Check("fbnet", "fbnet", lambda space, table: fbnet.codes_of(table["ops"].to_pylist())),
    Check("ofa_mobilenetv3", "mobilenetv3", _ofa, "macs_w10_m", None),
    Check("ofa_mobilenetv3_w1.0_accuracy", "mobilenetv3", _ofa),
)


def compare(name: str, quantity: str, column: NDArray[np.float32], found: NDArray[np.float64]) -> bool:
    """Print how far `found` (units) is from a column in millions; whether they are equal after the column's rounding."""
    largest = np.abs(column.astype(np.float64) * 1e6 - found).max()
    differing = int((column != (found / 1e6).astype(column.dtype)).sum())
    print(
        f"{name} {quantity}: {len(column):,} rows from {int(found.min()):,} to {int(found.max()):,}, largest difference "
        f"{largest:.3g}, rows that differ after rounding to {column.dtype}: {differing}"
    )
    return differing == 0


def check(one: Check, folder: Path) -> bool:
    """Compare every row of a table in `folder` with its space."""
    table = pyarrow.parquet.read_table(folder / f"{one.file}.parquet")
    space = search_spaces.get(one.space)
    codes = one.codes(space, table)
    started = perf_counter()
    macs, parameters = space.macs(codes), space.parameters(codes)
    first = perf_counter() - started
    seconds = []
    for _ in range(7):
        started = perf_counter()
        space.features(codes)
        seconds.append(perf_counter() - started)
    print(f"{one.file}: tracing {first:.1f} s, then {len(codes) / min(seconds):,.0f} rows of features a second")
    equal = [compare(one.file, "MACs", table[one.macs_m].to_numpy(), macs)]
    if one.params_m:
        equal.append(compare(one.file, "parameters", table[one.params_m].to_numpy(), parameters))
    return all(equal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    equal = [check(one, Path(arguments.data) / "latency") for one in CHECKS]
    if not all(equal):
        sys.exit("the spaces do not have the MACs and parameters of the tables")


if __name__ == "__main__":
    main()
