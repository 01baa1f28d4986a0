"""One model in a fresh process of a device: its outputs, and what loading and running it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from latency_predictors.devices.backend import Array, Input, Model
from latency_predictors.devices.bench import Limits
from latency_predictors.devices.client import Client, Prepared, Ran, RefusedError, content, digest
from latency_predictors.devices.device import Device
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.transports import DeviceError, Stopped

_T = TypeVar("_T")


class DeviceSession:
    """A model loaded on a device, in a process of its own; a context manager that ends it.

    Args:
        device: where.
        model: an ONNX model.
        limits: for a model that hangs.

    Raises:
        ValueError: when the model cannot be loaded or ends the process, or the device cannot be used.
        ModuleNotFoundError: when its runtime is not installed.
        OSError: when the model's file cannot be read.
    """

    def __init__(self, device: Device, model: Model, limits: Limits = Limits()) -> None:  # noqa: B008
        self._device, self._limits, stored = device, limits, content(model)
        self._transport = device.transport()
        try:
            self._client = self._told(lambda: Client(self._transport, device.backend, device.options))
        except BaseException:
            self._transport.close()
            raise
        try:
            prepared = self._told(lambda: self._load(stored))
        except BaseException:
            self.close()
            raise
        self.inputs: Mapping[str, Input] = prepared.inputs
        self.load_ms, self.memory_mb = prepared.load_ms, prepared.memory_mb

    def _load(self, model: bytes) -> Prepared:
        self._client.upload({digest(model): model}, self._limits.prepare)
        return self._client.prepare(0, digest(model), self._limits.prepare)

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._client.close()
        self._transport.close()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name.

        Raises:
            ValueError: when the model cannot be run with these inputs, or ends the process.
        """
        return dict(self.ran(inputs).outputs)

    def ran(self, inputs: Mapping[str, Array]) -> Ran:
        """The outputs, the time of the run and the peak of memory; errors as for `run`."""
        return self._told(lambda: self._client.run(0, inputs, self._limits.visit))

    def _told(self, action: Callable[[], _T]) -> _T:
        try:
            return action()
        except Stopped as error:
            raise DeviceError(f"device {self._device.name!r}: the process of {self._device.backend} {error}") from error
        except RefusedError as error:
            raise ValueError(f"device {self._device.name!r}: {error}") from error


@dataclass(frozen=True)
class Cost:
    """What a model needs beside the time of a run.

    Attributes:
        load_ms: loading it in a fresh process, the runtime being imported.
        first_ms: the first run.
        peak_mb: peak resident memory of the process, from before loading until after the first run.
        added_mb: how much of it came with the model.
        size_mb: of the file.
    """

    load_ms: float
    first_ms: float
    peak_mb: float
    added_mb: float
    size_mb: float


def cost(device: Device, model: Model, seed: int = 0) -> Cost:
    """Load and run `model` once in a fresh process of `device`; errors as for `DeviceSession`."""
    with DeviceSession(device, model) as session:
        ran = session.ran(random_inputs(session, np.random.default_rng(seed)))
        return Cost(
            session.load_ms,
            ran.run_ms,
            ran.peak_mb,
            max(0.0, ran.peak_mb - session.memory_mb),
            len(content(model)) / 1e6,
        )
