"""The measuring protocol: all networks take turns, and the fastest run counts.

On shared machines the protocol matters more than the runtime. Timing one network after the other gave a rank
correlation of 0.81 between repeats; visiting all in turn, round after round, and taking the minimum gave 0.99.

The networks run in a process of their own (`runner`), so that one that crashes or hangs costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, overload

import numpy as np

from latency_predictors.devices import samples
from latency_predictors.devices.backend import Model
from latency_predictors.devices.bench import Bench, Limits, Network
from latency_predictors.devices.device import Device
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.results import Failure, Measurement, MeasuringError, complete
from latency_predictors.devices.samples import Samples
from latency_predictors.devices.transports import Lost
from search_spaces import Architecture, SearchSpace

__all__ = [
    "Failure",
    "Measurement",
    "MeasuringError",
    "Progress",
    "Protocol",
    "complete",
    "measure",
    "measure_architectures",
    "measure_documents",
    "random_inputs",
]

CHUNK = 60
DEFAULT_REFERENCES = 3
EXTRA_ROUNDS = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Protocol:
    """How to measure.

    Attributes:
        rounds: visits of every network at least; always done.
        repeats: samples of a visit.
        max_seconds: no rounds are added to the first ones after this time.
        target_error: rounds are added until the repeat error is under it.
        seed: of the order of the visits and of the inputs.
        prepare_seconds: a network that takes longer to load is given up.
        visit_seconds: a network that takes longer for one visit is given up.

    Raises:
        ValueError: when a number is out of its range.
    """

    rounds: int = 12
    repeats: int = 3
    max_seconds: float = 120.0
    target_error: float = 0.03
    seed: int = 0
    prepare_seconds: float = Limits.prepare
    visit_seconds: float = Limits.visit

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise ValueError(f"rounds is 2 or more, not {self.rounds}: the repeat error compares odd and even rounds")
        if self.repeats < 1:
            raise ValueError(f"repeats is 1 or more, not {self.repeats}")
        if not self.target_error > 0 or not self.max_seconds >= 0:
            raise ValueError("target_error must be above 0 and max_seconds not below 0")
        if not min(self.prepare_seconds, self.visit_seconds) > 0:
            raise ValueError("prepare_seconds and visit_seconds must be above 0")


def measure(
    device: Device,
    models: Sequence[Model],
    *,
    reference: Sequence[Model] = (),
    progress: Progress | None = None,
    **protocol: Any,
) -> list[Measurement | Failure]:
    """Time ONNX models on `device`: a `Measurement` or a `Failure` for each, in their order.

    The models are loaded together (in chunks of at most 60) into a process of their own, here or at the far side, and
    run once: outputs that are not those of the reference are a failure. A round visits each once, in an order shuffled
    anew; a visit is one run to warm up and `repeats` samples. A sample is one run, or the fastest of several where
    a network is so small that the visit would last less than a millisecond. After `rounds` rounds more are added
    until the repeat error is under `target_error` or `max_seconds` have passed; the latter gives measurements that
    are not `stable`. Inputs are random; a first dimension that the model leaves free is 1.

    A model that cannot be read, loaded or run, or that ends or hangs the process, is a failure; the others go on. A
    connection that breaks is made again, and what was timed before is kept.

    Args:
        device: where to measure.
        models: ONNX models, as bytes or paths; each is asked for when its chunk is loaded, and not kept.
        reference: models that are timed with every chunk; when none are given and there are several chunks, the
            first three of `models`. Latencies of later chunks are scaled so that the references are as fast there as
            in the first chunk (median of their ratios), where that brings the chunks closer together (see
            `samples.drift`): machines drift by several percent within minutes.
        progress: called after every round with the number of rounds done and planned, over all chunks.
        protocol: `rounds`, `repeats`, `max_seconds` (for all models together), `target_error`, `seed`,
            `prepare_seconds` and `visit_seconds`, see `Protocol`.

    Raises:
        ValueError: when a number is out of its range, the device cannot be reached or used (`DeviceError`), or a
            network of `reference` cannot be loaded (`MeasuringError`, before anything is timed).
        ModuleNotFoundError: when the device's runtime is not installed; the message says what to install.
    """
    settings = Protocol(**protocol)
    if not models:
        return []
    if not reference and len(models) > CHUNK:
        reference = [models[number] for number in range(DEFAULT_REFERENCES)]
    size = max(1, CHUNK - len(reference))
    chunks = [range(start, min(start + size, len(models))) for start in range(0, len(models), size)]
    with Bench(device, Limits(settings.prepare_seconds, settings.visit_seconds)) as bench:
        session = _Session(bench, settings, _Counter(progress, len(chunks) * settings.rounds), reference)
        ends = np.linspace(0, settings.max_seconds, len(chunks) + 1)[1:] + monotonic()
        return [
            result
            for chunk, end in zip(chunks, ends, strict=True)
            for result in session.measure([models[number] for number in chunk], float(end))
        ]


def measure_architectures(
    device: Device,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    phase: str = "inference",
    **protocol: Any,
) -> list[Measurement | Failure]:
    """Time the timing graphs (batch 1) of `architectures`; keyword arguments and errors as for `measure`."""
    return measure(device, TimingGraphs(space, architectures, phase), **protocol)


def measure_documents(device: Mapping[str, Any], models: Sequence[bytes], **protocol: Any) -> list[dict[str, Any]]:
    """`measure` from plain values to plain values, for a process on another machine.

    Args:
        device: `Device.document()`.
        models: ONNX models.
        protocol: as for `measure`.

    Returns:
        The attributes of each `Measurement` or `Failure`, which `results.from_document` reads.
    """
    return [asdict(found) for found in measure(Device(**device), models, **protocol)]


class TimingGraphs(Sequence[bytes]):
    """The timing graphs of `architectures`, each built when it is asked for: a thousand do not fit into memory."""

    def __init__(self, space: SearchSpace, architectures: Sequence[Architecture], phase: str) -> None:
        self.space, self.architectures, self.phase = space, architectures, phase

    def __len__(self) -> int:
        return len(self.architectures)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[bytes]: ...
    def __getitem__(self, number: int | slice) -> bytes | Sequence[bytes]:
        from latency_predictors.devices.timing_graph import timing_graph

        if isinstance(number, slice):
            return TimingGraphs(self.space, self.architectures[number], self.phase)
        return timing_graph(self.space.workload(self.architectures[number], self.phase))


class _Counter:
    """Tells `progress` how many rounds are done and planned."""

    def __init__(self, progress: Progress | None, planned: int) -> None:
        self._progress, self._planned, self._done = progress, planned, 0

    def plan(self, rounds: int) -> None:
        self._planned += rounds

    def round_done(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._planned)


class _Session:
    """Measures chunk after chunk.

    Args:
        bench: where the networks run.
        protocol: how.
        counter: of rounds.
        reference: models to be timed with each chunk.
    """

    def __init__(self, bench: Bench, protocol: Protocol, counter: _Counter, reference: Sequence[Model]) -> None:
        self._bench, self._protocol, self._counter = bench, protocol, counter
        self._reference, self._rng = reference, np.random.default_rng(protocol.seed)
        self._first: list[Network] | None = None  # the references as they were timed with the first chunk
        self._lost = ""

    def measure(self, models: Sequence[Model], deadline: float) -> list[Measurement | Failure]:
        """Results of one chunk; no rounds are added after `deadline` (of the monotonic clock)."""
        references, own = ([Network.of(model, self._protocol.seed) for model in some] for some in self._chunk(models))
        everything, error = [*references, *own], 0.0
        try:
            if self._lost:
                raise Lost(self._lost)
            self._bench.load(everything)
            self._check_references(references)
            error = self._visit(everything, deadline)
        except Lost as reason:
            self._lost = str(reason)
            for network in everything:
                if network.failure is None:
                    network.fail("connection", str(reason))
        self._first = self._first or references
        drift = self._drift(references)
        return [network.failure or self._measurement(network, drift, error) for network in own]

    def _chunk(self, models: Sequence[Model]) -> Iterator[Sequence[Model]]:
        yield self._reference
        yield models

    def _check_references(self, references: Sequence[Network]) -> None:
        failed = [network.failure.reason for network in references if network.failure]
        if self._first is None and failed:
            raise MeasuringError(f"a reference network cannot be measured: {failed[0]}")

    def _visit(self, networks: Sequence[Network], deadline: float) -> float:
        """Visit all networks until they repeat well enough or time is up; the repeat error reached."""
        self._rounds(networks, self._protocol.rounds)
        while True:
            error = samples.repeat_error(_timed(networks))
            if error < self._protocol.target_error or monotonic() >= deadline:
                return error
            self._counter.plan(EXTRA_ROUNDS)
            self._rounds(networks, EXTRA_ROUNDS)

    def _rounds(self, networks: Sequence[Network], rounds: int) -> None:
        for _ in range(rounds):
            self._bench.round(self._rng.permutation(len(networks)).tolist(), self._protocol.repeats)
            self._counter.round_done()

    def _drift(self, references: Sequence[Network]) -> float:
        pairs = [
            (first, now)
            for first, now in zip(self._first or (), references, strict=True)
            if first.failure is None and now.failure is None
        ]
        if not pairs:
            return 1.0
        first, now = zip(*pairs, strict=True)
        return samples.drift(_timed(first), _timed(now))

    def _measurement(self, network: Network, drift: float, error: float) -> Measurement:
        samples_ms = np.ravel(network.visits_ms)
        return Measurement(
            float(samples_ms.min()) * drift,
            float(np.median(samples_ms)),
            tuple(samples_ms.tolist()),
            error,
            error < self._protocol.target_error,
        )


def _timed(networks: Sequence[Network]) -> Samples:
    """The samples of the networks that have no failure, shape (networks, rounds, repeats)."""
    return np.array([network.visits_ms for network in networks if network.failure is None])
