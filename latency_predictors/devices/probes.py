"""Ways to measure more of a model than its latency, each giving one sample a visit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import sleep
from typing import TypeVar

import numpy as np

from latency_predictors.devices.bench import Limits
from latency_predictors.devices.client import Client, Prepared, Ran, digest
from latency_predictors.devices.device import Device
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.transports import Lost, Stopped

_T = TypeVar("_T")

#: How long a network runs at least while its energy is measured.
BURST_SECONDS = 1.0
#: The longest burst, ten times what a meter may take to be read, and the readings.
ENERGY_SECONDS = 120.0
#: Resident memory is counted in pages: less than this cannot be told from nothing.
SMALLEST_MB = 0.004


class Probe(ABC):
    """Measures models on a device; `close` ends what it started.

    `visit` may raise what `Client` raises; a connection that breaks is made again first.

    Args:
        device: where.
        models: ONNX models, each asked for when it is visited first.
        seed: of the random inputs.
        limits: for models that hang.
    """

    def __init__(self, device: Device, models: Sequence[bytes], seed: int = 0, limits: Limits = Limits()) -> None:  # noqa: B008
        self._device, self._models, self._seed, self._limits = device, models, seed, limits
        self._transport = device.transport()
        self._digests: dict[int, str] = {}
        self._runner: Client | None = None

    @classmethod
    @abstractmethod
    def check(cls, device: Device) -> None:
        """Find out whether `device` can be measured in this way.

        Raises:
            RefusedError: when it cannot be.
        """

    def visit(self, number: int) -> Mapping[str, float]:
        """One sample of the model of that number: values by the names of the quantities."""
        return self._insist(lambda: self._visit(number))

    @abstractmethod
    def _visit(self, number: int) -> Mapping[str, float]:
        """As `visit`, over a connection that may break."""

    def _insist(self, action: Callable[[], _T]) -> _T:
        """What `action` gives, which is tried again when the connection breaks."""
        for pause in self._transport.retry_seconds:
            try:
                return action()
            except Lost:
                self._end()
                sleep(pause)
        return action()

    def _running(self) -> Client:
        """A runner that stays."""
        if self._runner is None:
            self._runner = self._connect()
        return self._runner

    def _connect(self) -> Client:
        return Client(self._transport, self._device.backend, self._device.options)

    def _stored(self, number: int) -> str:
        """The name of a model that is now on the device."""
        if number not in self._digests:
            model = self._models[number]
            self._running().upload({digest(model): model}, self._limits.prepare)
            self._digests[number] = digest(model)
        return self._digests[number]

    def _load(self, client: Client, number: int) -> tuple[Prepared, Ran]:
        """Load a stored model, and run it for the first time."""
        prepared = client.prepare(number, self._digests[number], self._limits.prepare)
        inputs = random_inputs(prepared, np.random.default_rng(self._seed))
        return prepared, client.run(number, inputs, self._limits.visit)

    def _end(self) -> None:
        """End the runner that stays."""
        if self._runner is not None:
            self._runner.close()
        self._runner = None

    def close(self) -> None:
        """Remove the models from the device, and end the runner."""
        if self._digests:
            with suppress(Stopped, ValueError):
                self._insist(lambda: self._running().forget(sorted(self._digests.values())))
        self._end()
        self._transport.close()


class FreshProcess(Probe):
    """Loads and runs a model once in a process of its own, which has imported the runtime and done nothing else.

    The memory is the peak of the process's resident size until after the first run, less its size before loading. The
    model comes to the device through another process: what is left of reading it would change the peak.
    """

    @classmethod
    def check(cls, device: Device) -> None:
        """Every device can start a process."""

    def _visit(self, number: int) -> Mapping[str, float]:
        self._stored(number)
        with self._connect() as client:
            prepared, ran = self._load(client, number)
        return {
            "load_ms": prepared.load_ms,
            "first_ms": ran.run_ms,
            "peak_memory_mb": max(ran.peak_mb - prepared.memory_mb, SMALLEST_MB),
        }


class EnergyMeter(Probe):
    """Runs a model in a burst between two readings of a meter: all that the machine uses meanwhile counts."""

    def __init__(self, device: Device, models: Sequence[bytes], seed: int = 0, limits: Limits = Limits()) -> None:  # noqa: B008
        super().__init__(device, models, seed, limits)
        self._loaded: set[int] = set()

    @classmethod
    def check(cls, device: Device) -> None:
        """Read the meter once."""
        probe = cls(device, [])
        try:
            probe._insist(probe._running)
        finally:
            probe.close()

    def _connect(self) -> Client:
        client = super()._connect()
        try:
            client.meter(self._device.energy_command)
        except BaseException:
            client.close()
            raise
        return client

    def _visit(self, number: int) -> Mapping[str, float]:
        self._stored(number)
        client = self._running()
        if number not in self._loaded:
            self._load(client, number)
            self._loaded.add(number)
        return {"energy_mj": client.energy(number, BURST_SECONDS, ENERGY_SECONDS)}

    def _end(self) -> None:
        super()._end()
        self._loaded.clear()
