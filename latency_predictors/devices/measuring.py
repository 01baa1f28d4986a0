"""The measuring protocol: all networks take turns, and the fastest run counts.

On shared machines the protocol matters more than the runtime. Timing one network after the other gave a rank
correlation of 0.81 between repeats; visiting all in turn, round after round, and taking the minimum gave 0.99.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_predictors.devices.backend import Array, Model, Session
from latency_predictors.devices.device import Device
from search_spaces import Architecture, SearchSpace

CHUNK = 60
DEFAULT_REFERENCES = 3
VISIT_MS = 1.0
EXTRA_ROUNDS = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Measurement:
    """Latency of one network on one device.

    Attributes:
        latency_ms: the fastest run; corrected for drift when there were several chunks.
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
class Protocol:
    """How to measure.

    Attributes:
        rounds: visits of every network at least; always done.
        repeats: samples of a visit.
        max_seconds: no rounds are added to the first ones after this time.
        target_error: rounds are added until the repeat error is under it.
        seed: of the order of the visits and of the inputs.

    Raises:
        ValueError: when a number is out of its range.
    """

    rounds: int = 12
    repeats: int = 3
    max_seconds: float = 120.0
    target_error: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise ValueError(f"rounds is 2 or more, not {self.rounds}: the repeat error compares odd and even rounds")
        if self.repeats < 1:
            raise ValueError(f"repeats is 1 or more, not {self.repeats}")
        if not self.target_error > 0 or not self.max_seconds >= 0:
            raise ValueError("target_error must be above 0 and max_seconds not below 0")


def measure(
    device: Device,
    models: Sequence[Model],
    *,
    reference: Sequence[Model] = (),
    rounds: int = Protocol.rounds,
    repeats: int = Protocol.repeats,
    max_seconds: float = Protocol.max_seconds,
    target_error: float = Protocol.target_error,
    seed: int = Protocol.seed,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Time ONNX models on `device`, one `Measurement` for each, in their order.

    All models are loaded together (in chunks of at most 60). A round visits each once, in an order shuffled
    anew; a visit is one run to warm up and `repeats` samples. A sample is one run, or the fastest of several where
    a network is so small that the visit would last less than a millisecond. After `rounds` rounds more are added
    until the repeat error is under `target_error` or `max_seconds` have passed; the latter gives measurements that
    are not `stable`. Inputs are random; a first dimension that the model leaves free is 1.

    Args:
        device: where to measure.
        models: ONNX models, as bytes or paths.
        reference: models that are timed with every chunk; when none are given and there are several chunks, the
            first three of `models`. Latencies of later chunks are scaled so that the references are as fast there as
            in the first chunk (median of their ratios): machines drift by several percent within minutes.
        rounds: see `Protocol`, as for the next four.
        repeats: samples of a visit.
        max_seconds: for all models together.
        target_error: relative.
        seed: of inputs and order.
        progress: called after every round with the number of rounds done and planned, over all chunks.

    Raises:
        ValueError: when a model cannot be loaded or run, an input has a free dimension that is not the first, or a
            number is out of its range.
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    protocol = Protocol(rounds, repeats, max_seconds, target_error, seed)
    backend, rng = device.make_backend(), np.random.default_rng(seed)
    if not reference and len(models) > CHUNK:
        reference = models[:DEFAULT_REFERENCES]
    size = max(1, CHUNK - len(reference))
    chunks = [models[start : start + size] for start in range(0, len(models), size)]
    counter = _Counter(progress, len(chunks) * rounds)
    started, results, first_ms = monotonic(), list[Measurement](), np.empty(0)
    for index, chunk in enumerate(chunks, start=1):
        networks = [_Network(backend.prepare(model), repeats, rng) for model in (*reference, *chunk)]
        repeat_error = _visit(networks, protocol, started + max_seconds * index / len(chunks), rng, counter)
        stable = repeat_error < target_error
        reference_ms = np.array([network.fastest_ms() for network in networks[: len(reference)]])
        first_ms = reference_ms if index == 1 else first_ms
        drift = float(np.median(first_ms / reference_ms)) if len(reference) else 1.0
        results += [network.measurement(drift, repeat_error, stable) for network in networks[len(reference) :]]
    return results


def measure_architectures(
    device: Device,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    phase: str = "inference",
    **protocol: Any,
) -> list[Measurement]:
    """Time the timing graphs (batch 1) of `architectures`; keyword arguments and errors as for `measure`."""
    from latency_predictors.devices.timing_graph import timing_graph

    models = [timing_graph(space.workload(architecture, phase)) for architecture in architectures]
    return measure(device, models, **protocol)


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


class _Network:
    """One loaded network and its samples so far."""

    def __init__(self, session: Session, repeats: int, rng: np.random.Generator) -> None:
        self._session, self._repeats = session, repeats
        self._inputs = random_inputs(session, rng)
        self._visits: list[NDArray[np.float64]] = []

    def visit(self) -> None:
        """One run to warm up, then `repeats` samples; a sample is the fastest of a burst of runs."""
        warm_up_ms = self._session.time(self._inputs, 1)[0]
        burst = ceil(VISIT_MS / (self._repeats * warm_up_ms))
        runs_ms = self._session.time(self._inputs, self._repeats * burst)
        self._visits.append(runs_ms.reshape(self._repeats, burst).min(axis=1))

    def fastest_ms(self, start: int = 0, step: int = 1) -> float:
        """The fastest run of the rounds `start`, `start + step`, ..."""
        return float(np.min(self._visits[start::step]))

    def half_difference(self) -> float:
        """Relative difference between the fastest runs of odd and of even rounds."""
        odd, even = self.fastest_ms(0, 2), self.fastest_ms(1, 2)
        return abs(odd - even) / min(odd, even)

    def measurement(self, drift: float, repeat_error: float, stable: bool) -> Measurement:
        samples = np.concatenate(self._visits)
        return Measurement(
            self.fastest_ms() * drift, float(np.median(samples)), tuple(samples.tolist()), repeat_error, stable
        )


def _visit(
    networks: Sequence[_Network], protocol: Protocol, deadline: float, rng: np.random.Generator, counter: _Counter
) -> float:
    """Visit all networks until they repeat well enough or time is up; the repeat error reached."""
    _rounds(networks, protocol.rounds, rng, counter)
    while True:
        repeat_error = float(np.median([network.half_difference() for network in networks]))
        if repeat_error < protocol.target_error or monotonic() >= deadline:
            return repeat_error
        counter.plan(EXTRA_ROUNDS)
        _rounds(networks, EXTRA_ROUNDS, rng, counter)


def _rounds(networks: Sequence[_Network], rounds: int, rng: np.random.Generator, counter: _Counter) -> None:
    for _ in range(rounds):
        for index in rng.permutation(len(networks)):
            networks[index].visit()
        counter.round_done()


def random_inputs(session: Session, rng: np.random.Generator) -> Mapping[str, Array]:
    """Inputs that the model accepts: normal values for floating point, zeros for integers; a free batch is 1.

    Raises:
        ValueError: when a dimension other than the first is free.
    """
    inputs: dict[str, Array] = {}
    for name, wanted in session.inputs.items():
        if None in wanted.shape[1:]:
            raise ValueError(f"input {name!r} has free dimensions {wanted.shape}: export the model with fixed sizes")
        shape = [1 if size is None else size for size in wanted.shape]
        floating = np.issubdtype(np.dtype(wanted.dtype), np.floating)
        inputs[name] = (rng.standard_normal(shape) if floating else np.zeros(shape)).astype(wanted.dtype)
    return inputs
