"""Measured latencies of one space and phase, from a table or from a bank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import search_spaces
from experiments.few_shot_latency import files
from experiments.few_shot_latency.adaptors import ADAPTORS, Adaptor, Column
from latency_predictors import Bank
from latency_predictors.measurements import Measurements
from latency_predictors.shipped import SUFFIX, Shipped
from search_spaces import SearchSpace
from search_spaces.space import Codes, nearest

#: What stands for the measurements that come with the project.
SHIPPED = "shipped"
BANK = ".jsonl"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Latencies of architectures on devices.

    Attributes:
        space: of the architectures.
        phase: of the workload.
        codes: the architectures, shape (n, number of choices).
        index: number of each architecture in the source, shape (n,).
        latency_ms: by the device's name, each of shape (n,), NaN where there is none.
        help: `index` of the pool and of the queries in HELP's protocol, where there is one.
    """

    space: SearchSpace
    phase: str
    codes: Codes
    index: NDArray[np.int64]
    latency_ms: dict[str, Column]
    help: tuple[range, range] | None = None

    def matrix(self, devices: Sequence[str]) -> NDArray[np.float64]:
        """Latencies of some devices, shape (n, number of devices).

        Raises:
            ValueError: when a device is unknown, or one of its latencies is not positive.
        """
        for name in devices:
            if name not in self.latency_ms:
                known = ", ".join(self.latency_ms)
                raise ValueError(
                    f"the table has no device {name!r}{nearest(name, self.latency_ms)}; it has {known}. "
                    "Devices of other files are added with --join"
                )
            wrong = np.flatnonzero((self.latency_ms[name] <= 0) | np.isinf(self.latency_ms[name]))
            if wrong.size:
                raise ValueError(
                    f"{name} has {self.latency_ms[name][wrong[0]]} in row {wrong[0]}: not a positive number of ms"
                )
        columns = [self.latency_ms[name] for name in devices]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.codes), 0))


def load(space: str, table: str, joined: Sequence[str] = (), phase: str | None = None) -> Dataset:
    """The latencies in a table, or in a bank.

    Args:
        space: name of the space.
        table: a file `*.parquet` or `*.csv`; or a bank `*.jsonl` or `*.jsonl.gz`, or `shipped` for the one that comes
            with the project.
        joined: tables with further devices of the same architectures.
        phase: of the workload; by default the first one of the space.

    Raises:
        OSError: when there is no such file.
        ValueError: when a file cannot be read or is of another space, or something does not exist.
    """
    if table == SHIPPED or table.endswith((BANK, SUFFIX)):
        if joined:
            raise ValueError("tables cannot be joined to a bank: append their measurements to it")
        return _from_bank(_space(space), _bank(table), phase)
    if space not in ADAPTORS:
        _space(space)  # raises when there is none at all
        raise ValueError(
            f"how a table writes architectures of {space!r} is not known; it is for {', '.join(ADAPTORS)}. "
            f"Of {space!r} give a bank: a file *{BANK} or *{SUFFIX}, or '{SHIPPED}'"
        )
    return _from_table(ADAPTORS[space], table, joined, phase)


def _space(name: str) -> SearchSpace:
    adaptor = ADAPTORS.get(name)
    return search_spaces.get(adaptor.space, **adaptor.options) if adaptor else search_spaces.get(name)


def _bank(path: str) -> Measurements:
    if path == SHIPPED:
        return Bank.shipped()
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return Shipped(Path(path)) if path.endswith(SUFFIX) else Bank(path)


def _from_bank(space: SearchSpace, bank: Measurements, phase: str | None) -> Dataset:
    phase = _phase(space, phase)
    found = bank.latencies(space, phase=phase)
    if not found.devices:
        raise ValueError(f"the bank has no latencies of {space.name!r} in phase {phase!r}")
    # A device goes by its name where that is enough.
    names = [device.partition("@")[0] for device in found.devices]
    count = Counter(names)
    shown = [name if count[name] == 1 else device for name, device in zip(names, found.devices, strict=True)]
    latency_ms = dict(zip(shown, found.latency_ms.T, strict=True))
    return Dataset(space, phase, found.codes, np.arange(len(found.codes)), latency_ms)


def _from_table(adaptor: Adaptor, path: str, joined: Sequence[str], phase: str | None) -> Dataset:
    space = search_spaces.get(adaptor.space, **adaptor.options)
    phase = _phase(space, phase)
    table = files.read(path)
    missing = [column for column in adaptor.needs if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} is no table of {adaptor.space!r}: it has no column {', '.join(missing)}")
    for more in joined:
        table = files.join(table, files.read(more), more)
    codes = adaptor.codes(space, table)
    index = np.arange(len(codes))
    if "arch_idx" in table.column_names:
        index = np.asarray(table["arch_idx"].to_numpy(), dtype=np.int64)
    return Dataset(space, phase, codes, index, adaptor.latencies(table, phase), adaptor.help)


def _phase(space: SearchSpace, phase: str | None) -> str:
    phase = phase or space.phases[0]
    space.feature_names(phase)  # raises when there is no such phase
    return phase
