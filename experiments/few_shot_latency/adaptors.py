"""How each published table writes architectures and latencies. A further table is one more `Adaptor` in `ADAPTORS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.convnet import mobilenetv3
from search_spaces.space import Codes
from search_spaces.tabular import accel_nasbench, fbnet, hat_table, nasbench201

Column = NDArray[np.float64]

#: Numbers of a row that are no latency.
DESCRIPTIONS = ("arch_idx", "macs_m", "params_m", "macs_w10_m", "r", "train_time_s")
ACCURACY = "acc_"


def plain_columns(table: Any, phase: str) -> dict[str, Column]:
    """Latencies in ms of a table whose other columns of numbers are one device each; NaN where there is none."""
    return {
        column: _numbers(table[column])
        for column in table.column_names
        if _is_number(table.schema.field(column).type)
        and column not in DESCRIPTIONS
        and not column.startswith(ACCURACY)
    }


def rated_columns(table: Any, phase: str) -> dict[str, Column]:
    """As `plain_columns`, but columns `*_imgps` hold images per second: what they become is ms per image."""
    columns = plain_columns(table, phase)
    return {name: 1000 / column if name.endswith("_imgps") else column for name, column in columns.items()}


def labelled_rows(table: Any, phase: str) -> dict[str, Column]:
    """Latencies of a table whose rows are of one device and one task each: columns `device:task`, mostly NaN.

    They are in `latency_<phase>_ms`.
    """
    latency_ms = _numbers(table[f"latency_{phase}_ms"])
    pairs = zip(table["device"].to_pylist(), table["task"].to_pylist(), strict=True)
    labels = np.array([f"{device}:{task}" for device, task in pairs])
    return {str(label): np.where(labels == label, latency_ms, np.nan) for label in np.unique(labels)}


def _is_number(kind: Any) -> bool:
    return bool(pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind))


def _numbers(column: Any) -> Column:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _text_codes(codes_of: Callable[[Sequence[str]], Codes]) -> Callable[[SearchSpace, Any], Codes]:
    """For tables with an architecture's text in the column `ops`."""
    return lambda space, table: codes_of(table["ops"].to_pylist())


def _ofa_codes(space: SearchSpace, table: Any) -> Codes:
    return mobilenetv3.codes_of(space, *(table[column].to_pylist() for column in ("ks", "e", "d", "r")))


def _accel_codes(space: SearchSpace, table: Any) -> Codes:
    return accel_nasbench.codes_of(space, {part: table[part].to_pylist() for part in accel_nasbench.PROPERTIES})


@dataclass(frozen=True)
class Adaptor:
    """What a table is.

    Attributes:
        space: name of its space, as for `search_spaces.get`.
        needs: columns without which it is not such a table.
        codes: gives the architectures of a table (of pyarrow), one for each row.
        latencies: gives the latencies in ms of a table and a phase by the device's name, NaN where there is none.
        options: of the space.
        help: `arch_idx` of the pool and of the queries in HELP's protocol, where HELP used the table.
    """

    space: str
    needs: tuple[str, ...]
    codes: Callable[[SearchSpace, Any], Codes]
    latencies: Callable[[Any, str], dict[str, Column]] = plain_columns
    options: Mapping[str, Any] = field(default_factory=dict)
    help: tuple[range, range] | None = None


_OFA = Adaptor("mobilenetv3", ("ks", "e", "d", "r"), _ofa_codes, help=(range(4000), range(4000, 5000)))

#: By what `--space` takes.
ADAPTORS: Mapping[str, Adaptor] = {
    "nasbench201": Adaptor(
        "nasbench201", ("ops",), _text_codes(nasbench201.codes_of), help=(range(900), range(900, 1900))
    ),
    "fbnet": Adaptor("fbnet", ("ops",), _text_codes(fbnet.codes_of), help=(range(4000), range(4000, 5000))),
    "accel-nasbench": Adaptor("accel-nasbench", accel_nasbench.PROPERTIES, _accel_codes, rated_columns),
    "hat": Adaptor("hat", hat_table.COLUMNS, hat_table.codes_of, labelled_rows),
    "ofa-mobilenetv3": _OFA,
    "mobilenetv3": _OFA,
}
