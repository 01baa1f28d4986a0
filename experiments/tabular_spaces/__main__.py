"""`python -m experiments.tabular_spaces --data DIR`: spaces against all rows of published tables.

MACs and parameters, and the encodings of the tables.
"""

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
from experiments.tabular_spaces import thop
from search_spaces import SearchSpace
from search_spaces.convnet import mobilenetv3
from search_spaces.space import Codes
from search_spaces.tabular import accel_nasbench, fbnet, hat_table, nasbench201

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """A table that states MACs and parameters in millions, as float32.

    Attributes:
        columns: those that describe an architecture.
        codes: gives the architectures of a table.
        macs: counts MACs as the table does.
        macs_m: column of the MACs.
        params_m: column of the parameters, where there is one.
    """

    columns: tuple[str, ...]
    codes: Callable[[SearchSpace, Any], Codes]
    macs: Callable[[SearchSpace, Codes], Numbers] = SearchSpace.macs
    macs_m: str = "macs_m"
    params_m: str | None = "params_m"

    def check(self, space: SearchSpace, path: Path) -> bool:
        """Compare MACs and parameters of every row of the table at `path` with those of `space`."""
        stated = [self.macs_m, self.params_m] if self.params_m else [self.macs_m]
        table = pyarrow.parquet.read_table(path, columns=[*self.columns, *stated])
        codes = self.codes(space, table)
        speed(space, codes, space.phases[0])
        equal = [compare(f"{path.stem} MACs", table[self.macs_m].to_numpy(), self.macs(space, codes))]
        if self.params_m:
            equal.append(compare(f"{path.stem} parameters", table[self.params_m].to_numpy(), space.parameters(codes)))
        return all(equal)


class Averaged:
    """The table of HAT, which states averages of what the layers of an architecture have."""

    def check(self, space: SearchSpace, path: Path) -> bool:
        """Compare the averages of every row of the table at `path` with those of the architecture that is found for it."""
        table = pyarrow.parquet.read_table(path, columns=list(hat_table.COLUMNS))
        started = perf_counter()
        codes = hat_table.codes_of(space, table)
        print(f"{space.name}: architectures of {len(codes):,} rows found in {perf_counter() - started:.1f} s")
        for phase in space.phases:
            speed(space, codes, phase)
        differing = 0
        for name, found in hat_table.columns_of(space, codes).items():
            column = table[name].to_numpy()
            differing += int((column != found.astype(column.dtype)).sum())
        print(
            f"{space.name} averages: {len(hat_table.COLUMNS)} columns, values that differ after rounding: {differing}"
        )
        return differing == 0


def compare(title: str, column: NDArray[np.float32], found: Numbers) -> bool:
    """Print how far `found` (units) is from a column in millions; whether they are equal after the column's rounding."""
    largest = np.abs(column.astype(np.float64) * 1e6 - found).max()
    differing = int((column != (found / 1e6).astype(column.dtype)).sum())
    print(
        f"{title}: {len(column):,} rows from {int(found.min()):,} to {int(found.max()):,}, largest difference "
        f"{largest:.3g}, rows that differ after rounding to {column.dtype}: {differing}"
    )
    return differing == 0


def speed(space: SearchSpace, codes: Codes, phase: str) -> None:
    """Print how long features take."""
    started = perf_counter()
    space.features(codes, phase)
    first = perf_counter() - started
    seconds = []
    for _ in range(7):
        started = perf_counter()
        space.features(codes, phase)
        seconds.append(perf_counter() - started)
    rate = len(codes) / min(seconds)
    print(f"{space.name}, {phase}: tracing {first:.1f} s, then {rate:,.0f} rows of features a second")


def _ofa(space: SearchSpace, table: Any) -> Codes:
    return mobilenetv3.codes_of(space, *(table[name].to_pylist() for name in _OFA_COLUMNS))


_OFA_COLUMNS = ("ks", "e", "d", "r")

#: The space and the check of each table, by its file.
CHECKS: dict[str, tuple[str, Counted | Averaged]] = {
    "nasbench201": ("nasbench201", Counted(("ops",), lambda _, table: nasbench201.codes_of(table["ops"].to_pylist()))),
    "fbnet": ("fbnet", Counted(("ops",), lambda _, table: fbnet.codes_of(table["ops"].to_pylist()))),
    "ofa_mobilenetv3": ("ofa-mobilenetv3", Counted(_OFA_COLUMNS, _ofa, macs_m="macs_w10_m", params_m=None)),
    "ofa_mobilenetv3_w1.0_accuracy": ("ofa-mobilenetv3", Counted(_OFA_COLUMNS, _ofa)),
    "accel_nasbench_mnasnet": (
        "accel-nasbench",
        Counted(
            accel_nasbench.PROPERTIES,
            lambda space, table: accel_nasbench.codes_of(space, table.to_pydict()),
            thop.macs,
        ),
    ),
    "hat_transformer": ("hat", Averaged()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("NASMYTH_DATA"), help="by default $NASMYTH_DATA")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data DIR or set NASMYTH_DATA; experiments/README.md says how to make the files")
    folder = Path(arguments.data) / "latency"
    equal = [
        check.check(search_spaces.get(space), folder / f"{file}.parquet") for file, (space, check) in CHECKS.items()
    ]
    if not all(equal):
        sys.exit("the spaces do not have the numbers of the tables")


if __name__ == "__main__":
    main()
