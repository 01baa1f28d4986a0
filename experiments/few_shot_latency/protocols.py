"""Which rows may be measured, which are asked for, and where the latencies of the training devices are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.few_shot_latency.dataset import Dataset
from search_spaces.space import nearest

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a dataset.

    Attributes:
        pool: where samples are taken from, and the only ones whose latencies on the training devices are known.
        queries: what is predicted, but for the samples.
    """

    pool: Rows
    queries: Rows


def _help(data: Dataset) -> Split:
    if data.help is None:
        raise ValueError(f"HELP has no split for this table of {data.space.name!r}: use --protocol all")
    pool, queries = (np.flatnonzero(np.isin(data.index, np.arange(part.start, part.stop))) for part in data.help)
    if not (len(pool) and len(queries)):
        raise ValueError(f"the table has no rows of HELP's split (arch_idx {data.help[0]} and {data.help[1]})")
    return Split(pool, queries)


def _all(data: Dataset) -> Split:
    rows = np.arange(len(data.codes))
    return Split(rows, rows)


PROTOCOLS: Mapping[str, Callable[[Dataset], Split]] = {"help": _help, "all": _all}


def split(data: Dataset, protocol: str | None) -> Split:
    """The rows of a protocol; `None` is `help` where HELP has a split for the table, else `all`.

    Raises:
        ValueError: when there is no such protocol, or not for this table.
    """
    name = protocol or ("help" if data.help else "all")
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {name!r}{nearest(name, PROTOCOLS)}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](data)
