"""Questions to a collection of measurements. Two machines under one name are never mixed without a word."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.record import Record
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Codes, nearest


@dataclass(frozen=True)
class MeasuredDevice:
    """What a collection knows of one device.

    Attributes:
        name: of the device.
        id: name and digest of what is stable, such as `local@1a2b3c4d`; names this very device wherever a device is
            asked for.
        stable: what the digest is made of, see `Record.stable`.
        networks: how many different ones were measured.
        failures: records of networks that could not be measured.
        spaces: such as `convnet@1a2b3c4d`, sorted.
        last: when its last session began.
    """

    name: str
    id: str
    stable: dict[str, Any]
    networks: int
    failures: int
    spaces: tuple[str, ...]
    last: datetime

    @property
    def last_text(self) -> str:
        """`last` to the minute (UTC), for people."""
        return self.last.astimezone(UTC).strftime("%Y-%m-%d %H:%M")

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "spaces": list(self.spaces), "last": self.last.isoformat()}


@dataclass(frozen=True, eq=False)
class Latencies:
    """Measured latencies of one space as matrices.

    Attributes:
        codes: the architectures, shape (n, number of choices); no two rows are equal.
        latency_ms: of each on each device, shape (n, number of devices); NaN where there is none.
        devices: the devices of the columns, as `MeasuredDevice.id`.
    """

    codes: Codes
    latency_ms: NDArray[np.float64]
    devices: tuple[str, ...]


class Measurements(ABC):
    """A collection of records. A device is asked for by its name, or by its id where the name stands for several."""

    @abstractmethod
    def _all(self) -> Iterable[Record]:
        """All records, oldest first, perhaps with duplicates."""

    def records(
        self, device: str | None = None, space: SearchSpace | None = None, phase: str | None = None
    ) -> list[Record]:
        """The records of a device, a space (by its fingerprint) and a phase, oldest first, without duplicates.

        Without a device they are those of all devices: `Record.device_id` tells them apart.

        Raises:
            ValueError: when a record is damaged, or `device` is a name that stands for several devices.
        """
        found: dict[tuple[Any, ...], Record] = {}
        for record in self._all():
            if (
                device in (None, record.device, record.device_id)
                and (space is None or space.fingerprint == record.space_fingerprint)
                and phase in (None, record.phase)
            ):
                found.setdefault(record.key, record)
        records = list(found.values())
        if device is not None:
            _check_one(device, summaries(records))
        return records

    def devices(self) -> list[MeasuredDevice]:
        """All devices, sorted by name, then by the time of their last session.

        Raises:
            ValueError: when a record is damaged.
        """
        return summaries(self.records())

    def latencies(
        self, space: SearchSpace, devices: Sequence[str] | None = None, phase: str = "inference", batch: int = 1
    ) -> Latencies:
        """Latencies for a predictor: the median over the sessions in which a network was measured; no failures.

        Args:
            space: whose architectures; records of a space with another fingerprint are left out.
            devices: names or ids; by default all, each id a column.
            phase: of the workload.
            batch: of the timed graphs.

        Raises:
            ValueError: when a record is damaged, a name stands for several devices, or a device has no latencies.
        """
        records = [
            record
            for record in self.records(space=space, phase=phase)
            if record.batch == batch and record.latency_ms is not None
        ]
        known = summaries(records)
        columns = [_chosen(name, known, space) for name in devices] if devices is not None else [d.id for d in known]
        records = [record for record in records if record.device_id in columns]
        names = [Architecture(space.name, tuple(record.architecture.items())) for record in records]
        codes, rows = np.unique(space.codes(names), axis=0, return_inverse=True)
        return Latencies(codes, _matrix(records, rows.reshape(-1), len(codes), columns), tuple(columns))


def summaries(records: Iterable[Record]) -> list[MeasuredDevice]:
    """The devices of `records`, sorted by name, then by the time of their last session."""
    grouped = defaultdict[str, list[Record]](list)
    for record in records:
        grouped[record.device_id].append(record)
    return sorted(map(_summary, grouped.values()), key=lambda device: (device.name, device.last, device.id))


def _summary(records: Sequence[Record]) -> MeasuredDevice:
    return MeasuredDevice(
        name=records[0].device,
        id=records[0].device_id,
        stable=records[0].stable,
        networks=len({record.network for record in records if record.failure is None}),
        failures=sum(record.failure is not None for record in records),
        spaces=tuple(sorted({record.space_id for record in records})),
        last=max(record.time for record in records),
    )


def differences(devices: Sequence[MeasuredDevice]) -> list[str]:
    """Names of what is stable in each of `devices` and not the same in all."""
    first = devices[0].stable
    return [name for name in first if any(device.stable[name] != first[name] for device in devices)]


def _check_one(name: str, found: Sequence[MeasuredDevice]) -> None:
    if len(found) < 2:
        return
    marks = differences(found)
    told = "; ".join(f"{one.id} has {', '.join(f'{mark} {one.stable[mark]!s:.40}' for mark in marks)}" for one in found)
    raise ValueError(
        f"the measurements of device {name!r} are of {len(found)} different devices ({told}): "
        f"ask for one of them by its id, such as {found[-1].id!r}, the last one measured"
    )


def _chosen(name: str, known: Sequence[MeasuredDevice], space: SearchSpace) -> str:
    """The id of the one device that `name` stands for."""
    found = [device for device in known if name in (device.name, device.id)]
    _check_one(name, found)
    if not found:
        ids = [device.id for device in known]
        there = f"; there are {', '.join(ids)}" if ids else ""
        raise ValueError(f"there are no latencies of {name!r} for space {space.name!r}{nearest(name, ids)}{there}")
    return found[0].id


def _matrix(records: Sequence[Record], rows: NDArray[np.intp], n: int, columns: Sequence[str]) -> NDArray[np.float64]:
    cells = defaultdict[tuple[int, int], list[float]](list)
    for record, row in zip(records, rows.tolist(), strict=True):
        if record.latency_ms is not None:
            cells[row, columns.index(record.device_id)].append(record.latency_ms)
    matrix = np.full((n, len(columns)), np.nan)
    for cell, latencies_ms in cells.items():
        matrix[cell] = np.median(latencies_ms)
    return matrix
