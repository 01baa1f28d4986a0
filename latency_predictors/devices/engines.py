"""Where measuring is done from: this process, or a node of a Ray cluster."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from latency_predictors.devices import quantities
from latency_predictors.devices.device import Device
from latency_predictors.devices.fingerprint import fingerprint
from latency_predictors.devices.measuring import Progress, measure
from latency_predictors.devices.quantities import Reading
from latency_predictors.devices.results import Failure, Measurement
from search_spaces.space import nearest

#: Module and class of each engine; a module is imported when its engine is asked for.
_ENGINES = {
    "local": "latency_predictors.devices.engines:LocalEngine",
    "ray": "latency_predictors.devices.ray_engine:RayEngine",
}


class Engine(ABC):
    """A process that measures devices, or sees to it that another one does."""

    @abstractmethod
    def measure(
        self, device: Device, models: Sequence[bytes], *, progress: Progress | None = None, **protocol: Any
    ) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        """Time ONNX models on `device`.

        Args:
            device: where to measure.
            models: ONNX models; each is asked for when it is needed.
            progress: called now and then with the number of rounds done and planned.
            protocol: see `measuring.Protocol`.

        Returns:
            The fingerprint of the device, taken where and when it was measured; and what `measuring.measure` gives.

        Raises:
            ValueError: when a number of `protocol` is out of its range, or the device cannot be reached or used
                (`DeviceError`).
            ModuleNotFoundError: when a package is missing; the message says what to install.
        """

    @abstractmethod
    def check_quantities(self, device: Device, wanted: Iterable[str]) -> None:
        """Find out whether `device` can measure quantities beside latency: see `quantities.check`.

        Raises:
            ValueError: when it cannot, saying what to do; or when it cannot be reached or used (`DeviceError`).
            ModuleNotFoundError: when a package is missing; the message says what to install.
        """

    @abstractmethod
    def measure_quantities(
        self,
        device: Device,
        models: Sequence[bytes],
        wanted: Iterable[str],
        *,
        seed: int = 0,
        max_seconds: float = 60.0,
        progress: Progress | None = None,
    ) -> list[dict[str, Reading]]:
        """Measure quantities beside latency of ONNX models on `device`: arguments and result as `quantities.measure`.

        Raises:
            ValueError: when one cannot be measured, or the device cannot be reached or used (`DeviceError`).
            ModuleNotFoundError: when a package is missing; the message says what to install.
        """


class LocalEngine(Engine):
    """Measures from this process, which reaches the device itself."""

    def measure(
        self, device: Device, models: Sequence[bytes], *, progress: Progress | None = None, **protocol: Any
    ) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        """As for `Engine.measure`."""
        return fingerprint(device), measure(device, models, progress=progress, **protocol)

    def check_quantities(self, device: Device, wanted: Iterable[str]) -> None:
        """As for `Engine.check_quantities`."""
        quantities.check(device, wanted)

    def measure_quantities(
        self,
        device: Device,
        models: Sequence[bytes],
        wanted: Iterable[str],
        *,
        seed: int = 0,
        max_seconds: float = 60.0,
        progress: Progress | None = None,
    ) -> list[dict[str, Reading]]:
        """As for `Engine.measure_quantities`."""
        return quantities.measure(device, models, wanted, seed=seed, max_seconds=max_seconds, progress=progress)


def names() -> list[str]:
    """The engines that there are."""
    return sorted(_ENGINES)


def make(name: str) -> Engine:
    """The engine `name`.

    Raises:
        ValueError: when there is none of that name; the message names the nearest one.
    """
    if name not in _ENGINES:
        raise ValueError(f"there is no engine {name!r}{nearest(name, names())}; there are {', '.join(names())}")
    module, _, attribute = _ENGINES[name].partition(":")
    made: Engine = getattr(importlib.import_module(module), attribute)()
    return made
