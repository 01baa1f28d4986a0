"""Limits on more than latency, judged by what the exported network is measured to need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latency_predictors import Device
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.quantities import Reading
from nas.export.bundle import Bundle
from nas.export.verification import Verification, verify


def limited(bundle: Bundle, *limits: str, **known: Any) -> Bundle:
    file = bundle.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["limits"] = limits
    manifest["devices"]["local"].update(known)
    file.write_text(json.dumps(manifest))
    return Bundle(bundle.path)


def failed(verification: Verification) -> list[str]:
    return [check.name for check in verification.checks if check.name.startswith("limit") and not check.passed]


def test_quantities_are_measured_again(bundle: Bundle, device: Device) -> None:
    limits = ["peak_memory_mb.local <= 1e-6", "load_ms.local <= 1e6", "size_mb <= 1e-6", "energy_mj.phone <= 1e-6"]
    predicted = {"first_ms": {"unit": "ms", "mean": 1.5, "low": 1.25, "high": 2.0}}
    found = verify(limited(bundle, *limits, quantities=predicted), device)
    assert failed(found) == ["limit on peak_memory_mb.local", "limit on size_mb"]
    assert "limit on load_ms.local" in {check.name for check in found.checks}
    assert "energy_mj" not in found.measured  # of another device
    assert found.measured["size_mb"] == len(bundle.model) / 1e6
    assert all(found.measured[name] > 0 for name in ("peak_memory_mb", "load_ms", "first_ms"))
    assert found.notes["first_ms on local"] == (
        f"{found.measured['first_ms']:.4g} ms measured, 1.5 predicted (1.25 to 2)"
    )
    assert found.notes["load_ms on local"] == f"{found.measured['load_ms']:.4g} ms measured"
    assert found.remarks[0].startswith("first_ms on local: ")
    assert found.remarks[-1].startswith("accuracy on test images")
    again = Verification.from_document(json.loads(json.dumps(found.document())))
    assert again == found
    old = {key: value for key, value in found.document().items() if key != "notes"}
    assert Verification.from_document(old).notes == {}


class Elsewhere(LocalEngine):
    """Another machine, which has no meter and takes very long."""

    def check_quantities(self, device: Device, wanted: Iterable[str]) -> None:
        if "energy_mj" in wanted:
            raise ValueError("there is no meter here")

    def measure_quantities(self, *arguments: Any, **options: Any) -> list[dict[str, Reading]]:
        rows = super().measure_quantities(*arguments, **options)
        return [{name: replace(found, value=1e9) for name, found in row.items()} for row in rows]


def test_quantities_are_those_of_the_engine(bundle: Bundle, device: Device) -> None:
    limits = ["load_ms.local <= 1e8", "energy_mj.local <= 1e8"]
    found = verify(limited(bundle, *limits), device, engine=Elsewhere())
    assert failed(found) == ["limit on load_ms.local"]
    assert found.measured["load_ms"] == 1e9
    (energy,) = [check for check in found.checks if check.name == "energy_mj on local"]
    assert (energy.passed, energy.found) == (False, "there is no meter here")


def test_what_cannot_be_measured_fails_and_stops_nothing(bundle: Bundle, device: Device) -> None:
    broken = replace(device, name="broken", energy_command=("/no/such/meter",))
    found = verify(limited(bundle, "energy_mj.broken <= 5", "macs_m <= 100"), broken)
    checks = {check.name: check for check in found.checks}
    assert not checks["energy_mj on broken"].passed
    assert checks["energy_mj on broken"].found.startswith(
        "device 'broken' cannot measure energy_mj: the energy_command"
    )
    assert checks["limit on macs_m"].passed
    assert "limit on energy_mj.broken" not in checks
    assert not found.passed


@pytest.mark.parametrize("limit", ["size_mb <= 1000", "latency_ms.local <= 1000"])
def test_nothing_more_is_measured_than_is_asked_for(bundle: Bundle, device: Device, limit: str, tmp_path: Path) -> None:
    found = verify(limited(bundle, limit), device)
    assert failed(found) == []
    assert found.notes == {}
