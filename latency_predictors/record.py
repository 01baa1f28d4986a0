"""One measurement, with all that is needed to judge it and to make it again."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from math import isfinite
from typing import Any

from latency_predictors.devices.device import Device
from latency_predictors.devices.measuring import Measurement, Protocol
from search_spaces import Architecture, SearchSpace
from search_spaces.space import Value

#: Length of the digests that people see.
SHORT = 8


@dataclass(frozen=True)
class Record:
    """One measurement of one architecture, or the reason why it failed.

    Attributes:
        device: name of the device.
        backend: name of its runtime.
        options: of the backend.
        space: name of the space.
        space_fingerprint: of the space.
        phase: of the workload.
        batch: of the timed graph.
        architecture: value of every choice by its name.
        latency_ms: the fastest run; `None` when the network failed.
        median_ms: the median of the samples; `None` when the network failed.
        samples_ms: all samples, those before a failure too; none in a bank that ships with the project.
        repeat_error: relative, see `Measurement`; `None` when the network failed.
        protocol: the arguments of `measure`.
        fingerprint: of the device; its `time` (with a time zone) tells two sessions apart.
        failure: why there is no latency.

    Raises:
        ValueError: when a value is not of its kind, there is neither a latency nor a failure, or there are both.
    """

    device: str
    backend: str
    options: Mapping[str, Any]
    space: str
    space_fingerprint: str
    phase: str
    batch: int
    architecture: Mapping[str, Value]
    latency_ms: float | None
    median_ms: float | None
    samples_ms: tuple[float, ...]
    repeat_error: float | None
    protocol: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    failure: str | None = None

    def __post_init__(self) -> None:
        for name in ("device", "backend", "space", "space_fingerprint", "phase"):
            _check(_is_text(getattr(self, name)), name, "a text that is not empty", getattr(self, name))
        _check("@" not in self.device, "device", "a name without '@'", self.device)
        for name in ("options", "architecture", "protocol", "fingerprint"):
            _check(isinstance(getattr(self, name), Mapping), name, "an object", getattr(self, name))
        values = self.architecture.values()
        _check(all(isinstance(value, Value) for value in values), "architecture", "numbers and texts", [*values])
        _check(isinstance(self.batch, int) and self.batch > 0, "batch", "a whole number above 0", self.batch)
        _check(isinstance(self.samples_ms, tuple), "samples_ms", "a list of numbers", self.samples_ms)
        _check(_is_time(self.fingerprint.get("time")), "fingerprint", "one with its time and zone", self.fingerprint)
        self._check_figures()

    def _check_figures(self) -> None:
        _check(all(map(_is_latency, self.samples_ms)), "samples_ms", "a list of positive numbers", self.samples_ms)
        if self.failure is not None:
            _check(_is_text(self.failure), "failure", "a reason", self.failure)
            given = (self.latency_ms, self.median_ms, self.repeat_error)
            _check(given == (None,) * 3, "failure", "given without latencies, or not given", self.failure)
            return
        for name in ("latency_ms", "median_ms"):
            _check(_is_latency(getattr(self, name)), name, "a positive number, or a failure", getattr(self, name))
        error = self.repeat_error
        _check(_is_number(error) and isfinite(error) and error >= 0, "repeat_error", "a number from 0 on", error)

    @property
    def time(self) -> datetime:
        """When its session began."""
        return datetime.fromisoformat(self.fingerprint["time"])

    @property
    def runtime_version(self) -> str | None:
        """Version of the runtime, where it is known."""
        return self.fingerprint.get("runtime_version")

    @cached_property
    def stable(self) -> dict[str, Any]:
        """The part of the fingerprint that decides latency: two records that differ here are of different devices.

        Load, time, memory and the like change from session to session and are not in it.
        """
        return stable(self.backend, self.options, self.fingerprint)

    @cached_property
    def device_id(self) -> str:
        """Name and short digest of what is stable, such as `local@1a2b3c4d`."""
        return f"{self.device}@{digest(self.stable)}"

    @property
    def space_id(self) -> str:
        """Name and start of the fingerprint of the space, such as `convnet@1a2b3c4d`."""
        return f"{self.space}@{self.space_fingerprint[:SHORT]}"

    @cached_property
    def network(self) -> tuple[Any, ...]:
        """What was timed: equal for two records of the same graph."""
        return self.space_fingerprint, self.phase, self.batch, _text(dict(self.architecture))

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for two copies of one measurement, with samples or without."""
        return self.device_id, self.time, *self.network, self.latency_ms, self.failure

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read what `to_json` wrote.

        Raises:
            ValueError: when it is not a record.
        """
        try:
            values = json.loads(line)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        return cls.from_values(values)

    @classmethod
    def from_values(cls, data: Any) -> Record:
        """A record from the values of its JSON object.

        Raises:
            ValueError: when they are not those of a record.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or not names - {"failure"} <= set(data) <= names:
            raise ValueError(f"a record is a JSON object with the keys {', '.join(sorted(names))}")
        samples_ms = data["samples_ms"]
        return cls(**{**data, "samples_ms": tuple(samples_ms) if isinstance(samples_ms, list) else samples_ms})


def stable(backend: str, options: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What decides latency of a device, see `Record.stable`."""
    known = {name: fingerprint.get(name) for name in ("processor", "flags", "cores")}
    system = str(fingerprint.get("operating_system") or "").partition("-")[0] or None
    runtime = {"backend": backend, "runtime_version": fingerprint.get("runtime_version")}
    threads = fingerprint.get("threads")
    return {**known, "operating_system": system, **runtime, "threads": threads, "options": dict(options)}


def digest(marks: Mapping[str, Any]) -> str:
    """Short, for people; equal for devices of which all that is stable is equal."""
    return hashlib.sha256(_text(dict(marks)).encode()).hexdigest()[:SHORT]


class Failed(typing.Protocol):
    """A network that could not be measured."""

    @property
    def kind(self) -> str:
        """In a word: crash, hang, ..."""

    @property
    def reason(self) -> str:
        """In a sentence."""

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """What had been timed before."""


def records_of(
    device: Device,
    space: SearchSpace,
    phase: str,
    batch: int,
    architectures: Sequence[Architecture],
    results: Sequence[Measurement | Failed],
    protocol: Protocol,
    fingerprint: Mapping[str, Any],
) -> list[Record]:
    """What `measure_architectures` gave, one record for each architecture.

    Args:
        device: where was measured.
        space: of the architectures.
        phase: of the workload.
        batch: of the timed graphs.
        architectures: what was measured.
        results: of them, in the same order.
        protocol: how was measured.
        fingerprint: of the device, taken for this session.
    """
    return [
        Record(
            device=device.name,
            backend=device.backend,
            options=dict(device.options),
            space=space.name,
            space_fingerprint=space.fingerprint,
            phase=phase,
            batch=batch,
            architecture=architecture.values,
            protocol=asdict(protocol),
            fingerprint=dict(fingerprint),
            **_figures(result),
        )
        for architecture, result in zip(architectures, results, strict=True)
    ]


def _figures(result: Measurement | Failed) -> dict[str, Any]:
    if isinstance(result, Measurement):
        figures = asdict(result)
        return {name: figures[name] for name in ("latency_ms", "median_ms", "samples_ms", "repeat_error")}
    nothing = {"latency_ms": None, "median_ms": None, "repeat_error": None}
    return {**nothing, "samples_ms": result.samples_ms, "failure": f"{result.kind}: {result.reason}"}


def _check(right: bool, name: str, wanted: str, found: Any) -> None:
    if not right:
        raise ValueError(f"{name} of a record is {wanted}, not {str(found)[:80]!r}")


def _text(value: Any) -> str:
    """Equal for equal JSON values."""
    return json.dumps(value, sort_keys=True, default=list)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any) -> typing.TypeGuard[float]:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _is_latency(value: Any) -> bool:
    return _is_number(value) and isfinite(value) and value > 0


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False
