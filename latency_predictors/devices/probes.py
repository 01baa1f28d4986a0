"""Ways to measure more of a model than its latency, each giving one sample a visit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import sleep
from typing import TypeVar

import numpy as np

from latency_predictors.devices.bench import Limits
from latency_predictors.devices.client import Client, digest
from latency_predictors.devices.device import Device
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.transports import Lost, Stopped, Transport

_T = TypeVar("_T")

#: How long a network runs at least while its energy is measured.
BURST_SECONDS = 1.0
#: The longest burst: ten times the time that a meter may take to be read, and the readings.
ENERGY_SECONDS = 400.0
#: Resident memory is counted in pages: less than this cannot be told from nothing.
SMALLEST_MB = 0.004


class Probe(ABC):
    """Measures models on a device; `close` ends what it started.

    `visit` may raise what `Client` raises; a connection that breaks is made again first.

    Args:
        device: where.
        models: ONNX models, each asked for when it is visited.
        seed: of the random inputs.
        limits: for models that hang.
    """

    def __init__(self, device: Device, models: Sequence[bytes], seed: int = 0, limits: Limits = Limits()) -> None:  # noqa: B008
        self._device, self._models, self._seed, self._limits = device, models, seed, limits
        self._transport = device.transport()
        self._digests: set[str] = set()

    @classmethod
    @abstractmethod
    def check(cls, device: Device) -> None:
        """Find out whether `device` can be measured in this way.

        Raises:
            RefusedError: when it cannot be.
        """

    def visit(self, number: int) -> Mapping[str, float]:
        """One sample of the model of that number: values by the names of the quantities."""
        return _insist(self._transport, lambda: self._visit(number))

    @abstractmethod
    def _visit(self, number: int) -> Mapping[str, float]:
        """As `visit`, over a connection that may break."""

    def close(self) -> None:
        """End the runner, and remove the models from the device."""
        with suppress(Stopped, ValueError), self._connect() as client:
            client.forget(sorted(self._digests))
        self._transport.close()

    def _connect(self) -> Client:
        return Client(self._transport, self._device.backend, self._device.options)

    def _load(self, client: Client, number: int) -> tuple[float, float, float, float]:
        """Load and run a model in the slot of its number: load_ms, first_ms, and memory before and at its peak in MB."""
        model = self._models[number]
        name = digest(model)
        client.upload({name: model}, self._limits.prepare)
        self._digests.add(name)
        prepared = client.prepare(number, name, self._limits.prepare)
        ran = client.run(number, random_inputs(prepared, np.random.default_rng(self._seed)), self._limits.visit)
        return prepared.load_ms, ran.run_ms, prepared.memory_mb, ran.peak_mb


class FreshProcess(Probe):
    """Loads and runs a model once in a process of its own, which has imported the runtime and nothing else done.

    The memory is the peak of the process's resident size until after the first run, less its size before loading.
    """

    @classmethod
    def check(cls, device: Device) -> None:
        """Every device can start a process."""

    def _visit(self, number: int) -> Mapping[str, float]:
        with self._connect() as client:
            load_ms, first_ms, before_mb, peak_mb = self._load(client, number)
        return {"load_ms": load_ms, "first_ms": first_ms, "peak_memory_mb": max(peak_mb - before_mb, SMALLEST_MB)}


class EnergyMeter(Probe):
    """Runs a model in a burst between two readings of a meter: all that the machine uses meanwhile counts."""

    def __init__(self, device: Device, models: Sequence[bytes], seed: int = 0, limits: Limits = Limits()) -> None:  # noqa: B008
        super().__init__(device, models, seed, limits)
        self._client: Client | None = None
        self._loaded: set[int] = set()

    @classmethod
    def check(cls, device: Device) -> None:
        """Read the meter once."""
        probe = cls(device, [])
        try:
            _insist(probe._transport, probe._runner)
        finally:
            probe.close()

    def _runner(self) -> Client:
        if self._client is None:
            client = self._connect()
            try:
                client.meter(self._device.energy_command)
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    def _visit(self, number: int) -> Mapping[str, float]:
        try:
            client = self._runner()
            if number not in self._loaded:
                self._load(client, number)
                self._loaded.add(number)
            return {"energy_mj": client.energy(number, BURST_SECONDS, ENERGY_SECONDS)}
        except Lost:
            self._end()
            raise

    def _end(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._loaded.clear()

    def close(self) -> None:
        """As for `Probe.close`."""
        self._end()
        super().close()


def _insist(transport: Transport, action: Callable[[], _T]) -> _T:
    """What `action` gives, which is tried again when the connection breaks."""
    for pause in transport.retry_seconds:
        try:
            return action()
        except Lost:
            sleep(pause)
    return action()
