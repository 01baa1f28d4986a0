"""What predictors ask a bank, and a bank in memory for latencies that come as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latency_predictors.measurements import Latencies
from search_spaces import SearchSpace
from search_spaces.space import Codes, nearest


class LatencyBank(Protocol):
    """Anything that knows latencies of other devices: `Measurements`, such as `Bank`, or a `MatrixBank`."""

    def latencies(
        self, space: SearchSpace, devices: Sequence[str] | None = None, phase: str = "inference", batch: int = 1
    ) -> Latencies:
        """See `Measurements.latencies`; without devices, and without any latency of the space, a matrix of no rows."""


@dataclass(frozen=True, eq=False)
class MatrixBank:
    """Latencies of one space in memory.

    Attributes:
        space: of the architectures.
        phases: the latencies of each phase that was measured.
        batch: of the timed graphs.
    """

    space: SearchSpace
    phases: Mapping[str, Latencies]
    batch: int = 1

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        codes: Codes,
        latency_ms: NDArray[np.float64],
        devices: Sequence[str],
        phase: str = "inference",
    ) -> MatrixBank:
        """A bank of one phase. Of rows that are the same architecture, the median is kept; rows without any latency are left out.

        Args:
            space: of the architectures.
            codes: shape (n, number of choices).
            latency_ms: shape (n, number of devices), NaN where there is none.
            devices: names of the columns.
            phase: of the workload.

        Raises:
            ValueError: when the shapes do not fit, a name is there twice, or a latency is not positive.
        """
        latency_ms = np.asarray(latency_ms, dtype=np.float64)
        if latency_ms.shape != (len(codes), len(devices)) or len(set(devices)) < len(devices):
            raise ValueError(
                f"{len(codes)} architectures on {len(devices)} devices of different names need as many latencies, "
                f"got shape {latency_ms.shape}"
            )
        if (latency_ms <= 0).any() or np.isinf(latency_ms).any():
            raise ValueError("a latency in a bank is not a positive finite number of milliseconds")
        known = ~np.isnan(latency_ms).all(axis=1)
        distinct, rows = np.unique(space.canonical(codes)[known], axis=0, return_inverse=True)
        merged = _medians(latency_ms[known], rows.reshape(-1), len(distinct))
        return cls(space, {phase: Latencies(distinct, merged, tuple(devices))})

    def latencies(
        self, space: SearchSpace, devices: Sequence[str] | None = None, phase: str = "inference", batch: int = 1
    ) -> Latencies:
        """The latencies of a phase; arguments and errors as for `Measurements.latencies`."""
        known = self.phases.get(phase) if (space.fingerprint, batch) == (self.space.fingerprint, self.batch) else None
        if known is None:
            known = Latencies(np.zeros((0, len(space.choices)), dtype=np.int64), np.zeros((0, 0)), ())
        if devices is None:
            return known
        for name in devices:
            if name not in known.devices:
                raise ValueError(
                    f"there are no latencies of {name!r} for space {space.name!r}{nearest(name, known.devices)}"
                )
        columns = known.latency_ms[:, [known.devices.index(name) for name in devices]]
        rows = ~np.isnan(columns).all(axis=1)
        return Latencies(known.codes[rows], columns[rows], tuple(devices))


def _medians(latency_ms: NDArray[np.float64], rows: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """Median of each column over the rows of equal number, shape (n, devices); NaN where none is known."""
    if len(rows) == n:
        return np.asarray(latency_ms[np.argsort(rows)])
    merged = np.full((n, latency_ms.shape[1]), np.nan)
    order = np.argsort(rows, kind="stable")
    for row, same in enumerate(np.split(order, np.searchsorted(rows[order], np.arange(1, n)))):
        found = latency_ms[same]
        known = ~np.isnan(found).all(axis=0)
        merged[row, known] = np.nanmedian(found[:, known], axis=0)
    return merged
