from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import onnxruntime
import pytest

from latency_predictors import Device
from latency_predictors.devices import fingerprint as module
from latency_predictors.devices.fingerprint import fingerprint


def test_it_says_what_the_machine_is() -> None:
    found = fingerprint(Device("board", options={"threads": 2}))
    assert json.loads(json.dumps(found)) == found
    assert found["runtime"] == "onnxruntime"
    assert found["runtime_version"] == onnxruntime.__version__
    assert found["threads"] == 2
    assert found["processor"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert 100 < found["memory_mb"] < 1e8
    moment = datetime.fromisoformat(found["time"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("text", "processor"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz: fast\nflags : a b\n", "Some CPU @ 3 GHz: fast"),
        ("processor : 0\nBogoMIPS : 108\n\nModel : Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_processor_names(text: str, processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")
    assert fingerprint(Device("local"))["processor"] == processor


def test_a_machine_that_tells_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(module, "_GOVERNOR", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "sysconf", unknown)
    found = fingerprint(Device("local"))
    assert found["processor"]
    assert found["cores"] == os.cpu_count()
    assert found["governor"] is None
    assert found["memory_mb"] is None


def test_the_governor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "governor").write_text("performance\n")
    monkeypatch.setattr(module, "_GOVERNOR", tmp_path / "governor")
    assert fingerprint(Device("local"))["governor"] == "performance"
