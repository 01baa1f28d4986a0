"""Predictors learn from what ships, from what the user measured, and never from the very device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_predictors import Bank, Calibration, Device, Measurement, Record, calibrate
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.measuring import Protocol, TimingGraphs
from latency_predictors.other_devices import OtherDevices
from latency_predictors.record import records_of
from search_spaces import Architecture, SearchSpace

MARKS = {"time": "2026-01-02T03:04:05+00:00", "processor": "P", "cores": 4, "runtime_version": "1", "threads": 1}

Calls = list[list[Architecture]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Measuring gives the MACs in millions; the list receives the architectures."""
    found: Calls = []

    def measure(
        engine: LocalEngine, device: Device, graphs: TimingGraphs, **_: Any
    ) -> tuple[dict[str, Any], list[Measurement]]:
        found.append(list(graphs.architectures))
        return MARKS, [timed(ms) for ms in graphs.space.macs(graphs.space.codes(graphs.architectures)) / 1e6]

    monkeypatch.setattr(LocalEngine, "measure", measure)
    return found


def timed(ms: float) -> Measurement:
    return Measurement(float(ms), float(ms), (float(ms),), 0.01, True)


@pytest.fixture
def measured(tiny: SearchSpace) -> Callable[..., list[Record]]:
    def measured(name: str, n: int = 30, factor: float = 1.0, **marks: Any) -> list[Record]:
        """Records of random networks on a device."""
        architectures = tiny.sample(n, 7)
        results = [timed(ms) for ms in factor * tiny.macs(tiny.codes(architectures)) / 1e6]
        return records_of(Device(name), tiny, "inference", 1, architectures, results, Protocol(), {**MARKS, **marks})

    return measured


def test_a_measurement_that_is_in_two_banks_counts_once(
    tiny: SearchSpace, tmp_path: Path, measured: Callable[..., list[Record]]
) -> None:
    one, two = Bank(tmp_path / "1.jsonl"), Bank(tmp_path / "2.jsonl")
    old, new = measured("a", 6), [replace(r, fingerprint={**r.fingerprint, "time": "2026-02-02T03:04:05+00:00"},
                                          latency_ms=(r.latency_ms or 0) * 2) for r in measured("a", 6)]  # fmt: skip
    again = [replace(record, samples_ms=()) for record in old]  # as in a bank that ships
    one.append([*old, *measured("b", 4, processor="Q")])
    two.append([*again, *new])
    found = OtherDevices.joined([one, two], tiny).latencies(tiny)
    assert [device.partition("@")[0] for device in found.devices] == ["a", "b"]
    macs = tiny.macs(found.codes) / 1e6
    np.testing.assert_allclose(found.latency_ms[:, 0], 1.5 * macs)  # the median of two sessions, not of three
    assert np.isfinite(found.latency_ms[:, 1]).sum() == 4


def test_the_very_device_is_left_out_under_any_name(tiny: SearchSpace, measured: Callable[..., list[Record]]) -> None:
    everything = OtherDevices(
        tuple(measured("local") + measured("nickname") + measured("local", threads=2) + measured("x", processor="Q"))
    )
    left = everything.without(Device("local"), MARKS).devices()
    assert [(device.name, device.stable["processor"], device.stable["threads"]) for device in left] == [
        ("local", "P", 2), ("x", "Q", 1),
    ]  # fmt: skip


def test_a_calibration_learns_from_the_user_and_from_what_ships_but_not_from_itself(
    tiny: SearchSpace, calls: Calls, measured: Callable[..., list[Record]], tmp_path: Path
) -> None:
    Bank.user().append([*measured("local"), *measured("other", processor="Q")])
    found = calibrate(tiny, Device("local"), samples=5, holdout=3)
    bank = found.predictor.bank
    assert bank is not None
    assert [name.partition("@")[0] for name in bank.latencies(tiny).devices] == ["other"]
    found.save(tmp_path / "local.json")
    Bank.user().path.write_text("damaged\n")  # what is saved needs no bank
    again = Calibration.load(tmp_path / "local.json").predictor.predict(found.holdout_codes)
    np.testing.assert_allclose(again.mean_ms, found.predictor.predict(found.holdout_codes).mean_ms)
    assert "real_devices" in found.predictor.document()["state"]


def test_what_ships_is_known(convnet: SearchSpace) -> None:
    assert len(OtherDevices.known(convnet).devices()) == len(Bank.shipped().devices()) >= 11


def test_a_damaged_bank_is_said_before_anything_is_measured(tiny: SearchSpace, calls: Calls) -> None:
    Bank.user().path.parent.mkdir(parents=True, exist_ok=True)
    Bank.user().path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"line 1 of .*bank.jsonl is damaged"):
        calibrate(tiny, Device("local"), samples=5, holdout=3)
    assert calls == []
    calibrate(tiny, Device("local"), samples=5, holdout=3, bank=Bank.shipped())
    assert len(calls) == 1
