"""What a device really was when it was measured."""

from __future__ import annotations

from typing import Any

from latency_predictors.devices.client import Client
from latency_predictors.devices.device import Device
from latency_predictors.devices.transports import DeviceError, Lost


def fingerprint(device: Device) -> dict[str, Any]:
    """Processor, memory, system, runtime, threads, load and time (UTC) of `device`, as JSON values.

    What the machine does not tell (the governor, the memory) is `None`.

    Raises:
        DeviceError: when the device cannot be reached or used.
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    transport = device.transport()
    try:
        with Client(transport, device.backend, device.options) as client:
            return client.fingerprint
    except Lost as error:
        raise DeviceError(str(error)) from error
    finally:
        transport.close()
