from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import onnxruntime
import pytest

from latency_predictors import Device
from latency_predictors.devices import runner
from latency_predictors.devices.fingerprint import fingerprint


def test_it_says_what_the_machine_is() -> None:
    found = fingerprint(Device("board", options={"threads": 2}))
    assert json.loads(json.dumps(found)) == found
    assert found["runtime"] == "onnxruntime"
    assert found["runtime_version"] == onnxruntime.__version__
    assert found["python"] == platform.python_version()
    assert found["threads"] == 2
    assert found["processor"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert 100 < found["memory_mb"] < 1e8
    moment = datetime.fromisoformat(found["time"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(seconds=60)


ARM_SERVER = "processor : 0\nFeatures : fp asimd crc32 asimddp sve\nCPU implementer : 0x41\nCPU part : 0xd0c\n"


@pytest.mark.parametrize(
    ("text", "processor", "flags"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz: fast\nflags : fpu smep sse4_2 avx512f avx2 fma\n",
            "Some CPU @ 3 GHz: fast",
            "avx2 avx512f fma sse4_2",
        ),
        ("processor : 0\nBogoMIPS : 108\n\nModel : Raspberry Pi 5\n", "Raspberry Pi 5", ""),
        (ARM_SERVER, f"{platform.machine()} implementer 0x41 part 0xd0c", "asimd asimddp sve"),
    ],
)
def test_processor_names_and_flags(
    text: str, processor: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(runner, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(runner, "_BOARD", tmp_path / "none")
    found = runner.fingerprint(runner.OnnxRuntime())
    assert (found["processor"], found["flags"]) == (processor, flags)


def test_a_machine_that_tells_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    for name in ("_CPUINFO", "_GOVERNOR", "_BOARD"):
        monkeypatch.setattr(runner, name, tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "sysconf", unknown)
    found = runner.fingerprint(runner.OnnxRuntime())
    assert found["processor"]
    assert found["flags"] == ""
    assert found["cores"] == os.cpu_count()
    assert found["governor"] is None
    assert found["memory_mb"] is None


def test_the_governor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "governor").write_text("performance\n")
    monkeypatch.setattr(runner, "_GOVERNOR", tmp_path / "governor")
    assert runner.fingerprint(runner.OnnxRuntime())["governor"] == "performance"
