"""The block table of a device: how long each slot variant takes alone. It grows on disk, so that it can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices.device import Device
from latency_predictors.devices.engines import Engine
from latency_predictors.devices.measuring import Progress, Protocol
from latency_predictors.devices.results import Failure, MeasuringError
from latency_predictors.files import read_json, write_json
from search_spaces.workload import Workload

FORMAT_VERSION = 1

#: Blocks that are measured, and then kept on disk, together.
CHUNK = 50
#: Blocks of the first chunk that are measured again with every other: machines drift.
ANCHORS = 5
#: What of a fingerprint must not change while a table grows.
STABLE = ("processor", "runtime", "runtime_version", "threads")


class BlockTimer:
    """Measures workloads on a device, each once: what is in `file` is not measured again.

    Args:
        device: where to measure.
        engine: from where.
        protocol: how; its `max_seconds` are for all chunks together.
        file: the table, made when there is none; without one nothing is kept.
        progress: called with the number of workloads measured and of all.
    """

    def __init__(
        self,
        device: Device,
        engine: Engine,
        protocol: Protocol,
        file: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._device, self._engine, self._protocol, self._progress = device, engine, protocol, progress
        self._file = None if file is None else Path(file)
        self._marks: dict[str, Any] | None = None
        self._known_ms: dict[str, float] = {}

    def __call__(self, workloads: Sequence[Workload]) -> NDArray[np.float64]:
        """Latency of each workload in ms (batch 1), shape (n,).

        Raises:
            ValueError: when one cannot be measured (`MeasuringError`; those of earlier chunks are kept), the file cannot
                be read or is of another device, or the device cannot be used.
            OSError: when the file cannot be written.
        """
        self._load()
        by_name = {_digest(workload): workload for workload in workloads}
        names = list(by_name)
        missing = [name for name in names if name not in self._known_ms]
        anchors = [name for name in names if name in self._known_ms][:ANCHORS]
        chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
        for chunk in chunks:
            measured = self._measure({name: by_name[name] for name in [*anchors, *chunk]}, len(chunks))
            drift = np.median([self._known_ms[name] / measured[name] for name in anchors]) if anchors else 1.0
            self._known_ms |= {name: float(measured[name] * drift) for name in chunk}
            anchors = anchors or chunk[:ANCHORS]
            self._save()
            if self._progress is not None:
                self._progress(sum(name in self._known_ms for name in names), len(names))
        return np.array([self._known_ms[_digest(workload)] for workload in workloads])

    def _measure(self, workloads: Mapping[str, Workload], chunks: int) -> dict[str, float]:
        settings = replace(self._protocol, max_seconds=self._protocol.max_seconds / chunks)
        graphs = _Graphs(list(workloads.values()))
        marks, results = self._engine.measure(self._device, graphs, **asdict(settings))
        self._check({name: marks.get(name) for name in STABLE})
        for workload, result in zip(workloads.values(), results, strict=True):
            if isinstance(result, Failure):
                raise MeasuringError(f"the block of {_text(workload)} cannot be measured: {result.reason}")
        latencies = [result.latency_ms for result in results if not isinstance(result, Failure)]
        return dict(zip(workloads, latencies, strict=True))

    def _check(self, marks: dict[str, Any]) -> None:
        """The device must stay the one that the table is of."""
        if self._marks is None:
            self._marks = marks
        for name, value in marks.items():
            if self._marks.get(name) != value:
                raise ValueError(
                    f"the block table {self._file or ''} of {self._device.name!r} was measured with {name} "
                    f"{self._marks.get(name)!r}, now it is {value!r}: delete the file to measure all blocks anew"
                )

    def _load(self) -> None:
        if self._file is None or not self._file.exists():
            return
        data = read_json(self._file, "a block table")
        try:
            version, device, marks = data["version"], data["device"], dict(data["fingerprint"])
            known_ms = {str(name): float(ms) for name, ms in data["latency_ms"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{self._file} is not a block table ({error!r}): delete it to measure anew") from error
        if version != FORMAT_VERSION:
            raise ValueError(f"{self._file} is of format version {version!r}: delete it to measure anew")
        if device != self._device.document():
            raise ValueError(
                f"the block table {self._file} is of a device with other settings: delete it to measure anew"
            )
        if not (np.isfinite(list(known_ms.values())).all() and all(ms > 0 for ms in known_ms.values())):
            raise ValueError(f"{self._file} holds a latency that is not above 0: delete it to measure anew")
        self._marks, self._known_ms = marks, known_ms

    def _save(self) -> None:
        if self._file is None:
            return
        write_json(
            self._file,
            {
                "version": FORMAT_VERSION,
                "device": self._device.document(),
                "fingerprint": self._marks,
                "latency_ms": self._known_ms,
            },
        )


class _Graphs(Sequence[bytes]):
    """Timing graphs, each built when it is asked for."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self._workloads = workloads

    def __len__(self) -> int:
        return len(self._workloads)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | Sequence[bytes]:
        from latency_predictors.devices.timing_graph import timing_graph

        if isinstance(number, slice):
            return _Graphs(self._workloads[number])
        return timing_graph(self._workloads[number])


def _digest(workload: Workload) -> str:
    return hashlib.sha256(repr(workload).encode()).hexdigest()[:24]


def _text(workload: Workload) -> str:
    """Its operators and where they start, for people."""
    kinds = ", ".join(op.kind for op in workload.ops)
    return f"{kinds} on {' and '.join('x'.join(map(str, shape)) for shape in workload.input_shapes)}"
