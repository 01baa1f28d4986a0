"""The networks that are compared, whatever gave them: an ONNX file and a row each."""

from __future__ import annotations

import hashlib
from pathlib import Path

from experiments.many_devices.settings import Settings
from nas.files import write_bytes
from search_spaces.workload import Workload


def model_file(settings: Settings, key: str) -> Path:
    """The ONNX model of a network."""
    return settings.out / "networks" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.onnx"


def keep(
    settings: Settings, key: str, family: str, model: bytes, workload: Workload, validation: float, test: float
) -> None:
    """Put a network on record.

    Args:
        key: its architecture, or its name where it is of another space than the supernet.
        family: what it is one of, for people.
        model: ONNX.
        workload: tells its costs.
        validation: accuracy, 0..1.
        test: accuracy, 0..1.
    """
    write_bytes(model_file(settings, key), model)
    costs = {"macs_m": workload.macs / 1e6, "parameters_m": workload.parameters / 1e6}
    settings.rows.keep("network", key=key, family=family, **costs, validation=validation, test=test)
