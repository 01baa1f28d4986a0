"""What measuring a network gives: a latency, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """Latency of one network on one device.

    Attributes:
        latency_ms: the fastest run; corrected for drift between chunks where that brings them closer together.
        median_ms: median of `samples_ms`.
        samples_ms: as they were timed, in the order of the rounds, `repeats` a round.
        repeat_error: median, over the networks timed together, of the relative difference between the minimum of
            the odd and of the even rounds.
        stable: whether `repeat_error` came under the target.
    """

    latency_ms: float
    median_ms: float
    samples_ms: tuple[float, ...]
    repeat_error: float
    stable: bool


@dataclass(frozen=True)
class Failure:
    """A network that could not be measured.

    Attributes:
        kind: `corrupt` (not an ONNX model), `unsupported` (the runtime cannot load or run it), `parity` (wrong
            outputs), `crash` (the runtime's process ended), `timeout`, `storage` (no room for the model), `connection`.
        reason: one sentence.
        samples_ms: what had been timed before.
    """

    kind: str
    reason: str
    samples_ms: tuple[float, ...] = ()


class MeasuringError(ValueError):
    """Networks that had to be measured could not be."""


def complete(results: Iterable[Measurement | Failure]) -> list[Measurement]:
    """The measurements, when there is no failure among them.

    Raises:
        MeasuringError: saying how many networks failed, and why the first did.
    """
    found = list(results)
    failures = [(number, result) for number, result in enumerate(found, start=1) if isinstance(result, Failure)]
    if failures:
        number, first = failures[0]
        raise MeasuringError(
            f"{len(failures)} of {len(found)} networks could not be measured; network {number}: {first.reason}"
        )
    return [result for result in found if isinstance(result, Measurement)]


def from_document(found: Mapping[str, Any]) -> Measurement | Failure:
    """Inverse of `dataclasses.asdict`, after any trip through JSON."""
    values = {**found, "samples_ms": tuple(found["samples_ms"])}
    return Failure(**values) if "kind" in values else Measurement(**values)
