"""What is measured of a network on a device: latency, memory, load time, energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any

import numpy as np

from latency_predictors.devices.client import RefusedError
from latency_predictors.devices.device import Device
from latency_predictors.devices.measuring import Progress
from latency_predictors.devices.probes import EnergyMeter, FreshProcess, Probe
from latency_predictors.devices.results import MeasuringError
from latency_predictors.devices.transports import DeviceError, Lost, Stopped
from search_spaces.space import nearest

#: Visits of each network, of which the first ones are made whatever they take.
VISITS, CERTAIN_VISITS = 5, 2


@dataclass(frozen=True)
class Quantity:
    """A positive number of a network on a device, of which less is better.

    Attributes:
        name: with its unit, such as `latency_ms`.
        unit: for people.
        meaning: one sentence.
    """

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class ProbedQuantity(Quantity):
    """One that is measured beside latency.

    Attributes:
        probe: how a sample is made.
        score: of the samples of one network.
    """

    probe: type[Probe]
    score: Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Reading:
    """A quantity of one network.

    Attributes:
        value: the score of `samples`.
        samples: as they were measured.
    """

    value: float
    samples: tuple[float, ...]

    @classmethod
    def from_document(cls, found: Mapping[str, Any]) -> Reading:
        """Inverse of `dataclasses.asdict`, after any trip through JSON."""
        return cls(found["value"], tuple(found["samples"]))


LATENCY = Quantity("latency_ms", "ms", "the fastest run, while the networks take turns")

_PROBED = (
    ProbedQuantity(
        "peak_memory_mb",
        "MB",
        "peak resident size of a fresh process that loads and runs the network, less its size before loading",
        FreshProcess,
        median,
    ),
    ProbedQuantity("load_ms", "ms", "the fastest loading in a fresh process that has imported the runtime", FreshProcess, min),
    ProbedQuantity("first_ms", "ms", "the fastest first run in a fresh process", FreshProcess, min),
    ProbedQuantity("energy_mj", "mJ", "energy that the machine uses for a run, the least of several bursts", EnergyMeter, min),
)  # fmt: skip
_KNOWN: Mapping[str, Quantity] = {quantity.name: quantity for quantity in (LATENCY, *_PROBED)}


def names() -> list[str]:
    """The quantities that there are, latency first."""
    return list(_KNOWN)


def get(name: str) -> Quantity:
    """The quantity of that name.

    Raises:
        ValueError: naming the nearest one when there is none.
    """
    if name not in _KNOWN:
        raise ValueError(f"there is no quantity {name!r}{nearest(name, _KNOWN)}; there are {', '.join(_KNOWN)}")
    return _KNOWN[name]


def check(device: Device, wanted: Iterable[str]) -> None:
    """Find out, in a second, whether `device` can measure the quantities.

    Raises:
        ValueError: when it cannot (`DeviceError`), saying what to do; or when a quantity is unknown or is latency.
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    for probe, quantities in _by_probe(wanted).items():
        try:
            probe.check(device)
        except (RefusedError, Stopped) as error:
            raise DeviceError(f"device {device.name!r} cannot measure {_listed(quantities)}: {error}") from error


def measure(
    device: Device,
    models: Sequence[bytes],
    wanted: Iterable[str],
    *,
    seed: int = 0,
    max_seconds: float = 60.0,
    progress: Progress | None = None,
) -> list[dict[str, Reading]]:
    """Measure quantities other than latency of ONNX models on `device`.

    The models are visited in turn, in an order shuffled anew each time, up to five times; those that come of the same
    visit (memory, load time, first run) are measured together.

    Args:
        device: where to measure.
        models: ONNX models, each asked for when it is visited. Inputs are random, the batch is 1.
        wanted: names of quantities.
        seed: of the order and the inputs.
        max_seconds: no third to fifth visits are begun after this time, for each kind of visit.
        progress: called with the number of visits done and planned.

    Returns:
        For each model the readings by the names of the quantities.

    Raises:
        ValueError: when a quantity is unknown or is latency, or one cannot be measured (`MeasuringError`).
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    probes = _by_probe(wanted)
    found: list[dict[str, Reading]] = [{} for _ in models]
    counter = _Counter(progress, VISITS * len(models) * len(probes))
    for probe, quantities in probes.items():
        for row, samples in zip(found, _samples(probe, device, models, seed, max_seconds, counter), strict=True):
            for quantity in quantities:
                values = tuple(sample[quantity.name] for sample in samples)
                row[quantity.name] = Reading(float(quantity.score(values)), values)
    return found


class _Counter:
    """Tells `progress` how many visits are done and planned."""

    def __init__(self, progress: Progress | None, planned: int) -> None:
        self._progress, self._planned, self._done = progress, planned, 0

    def add(self, done: int = 0, left_out: int = 0) -> None:
        self._done, self._planned = self._done + done, self._planned - left_out
        if self._progress is not None:
            self._progress(self._done, self._planned)


def _samples(
    kind: type[Probe], device: Device, models: Sequence[bytes], seed: int, max_seconds: float, counter: _Counter
) -> list[list[Mapping[str, float]]]:
    """What the visits of each model gave."""
    found: list[list[Mapping[str, float]]] = [[] for _ in models]
    rng, deadline = np.random.default_rng(seed), monotonic() + max_seconds
    probe = kind(device, models, seed)
    try:
        for visit in range(VISITS):
            if visit >= CERTAIN_VISITS and monotonic() >= deadline:
                counter.add(left_out=(VISITS - visit) * len(models))
                break
            for number in rng.permutation(len(models)).tolist():
                found[number].append(_visited(probe, device, number))
                counter.add(1)
    finally:
        probe.close()
    return found


def _visited(probe: Probe, device: Device, number: int) -> Mapping[str, float]:
    try:
        return probe.visit(number)
    except (RefusedError, Stopped) as error:
        what = str(error) if isinstance(error, RefusedError | Lost) else f"the process of {device.backend} {error}"
        raise MeasuringError(f"device {device.name!r} could not measure network {number + 1}: {what}") from error


def _by_probe(wanted: Iterable[str]) -> dict[type[Probe], list[ProbedQuantity]]:
    """The quantities by how they are measured; each once."""
    found: dict[type[Probe], list[ProbedQuantity]] = {}
    for quantity in map(get, dict.fromkeys(wanted)):
        if not isinstance(quantity, ProbedQuantity):
            raise ValueError(f"{quantity.name} is measured by `latency_predictors.measure`, not beside it")
        found.setdefault(quantity.probe, []).append(quantity)
    return found


def _listed(quantities: Sequence[Quantity]) -> str:
    return ", ".join(quantity.name for quantity in quantities)
