"""The runner on another kind of processor, under qemu-user: right, not quick, so no latency is judged here."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from latency_predictors import Device, Failure, Measurement, measure
from latency_predictors.devices import runner
from latency_predictors.devices.client import Client
from latency_predictors.devices.measuring import TimingGraphs
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.transports import Connection, ProcessConnection, Transport
from nas.testing.backends import every_operator, unknown_operator
from search_spaces import SearchSpace

QEMU, FOLDER = shutil.which("qemu-aarch64-static"), os.environ.get("NASMYTH_AARCH64")
pytestmark = pytest.mark.skipif(
    not QEMU or not FOLDER, reason="needs qemu-user-static, and NASMYTH_AARCH64 with what .ci/aarch64 makes"
)


@dataclass
class Emulated(Transport):
    store: Path
    where = "an emulated machine"

    def connect(self) -> Connection:
        root = Path(str(FOLDER)) / "root"
        command = [str(QEMU), "-L", str(root), str(root / "usr/bin/python3.11"), runner.__file__, str(self.store)]
        return ProcessConnection(command, {**os.environ, "PYTHONPATH": str(Path(str(FOLDER)) / "site")})


@dataclass(frozen=True)
class Board(Device):
    store: Path = Path()

    def transport(self) -> Transport:
        return Emulated(self.store)


def test_the_fingerprint_is_that_of_the_other_processor(tmp_path: Path) -> None:
    with Client(Emulated(tmp_path), "onnxruntime", {}) as client:
        found = client.fingerprint
    assert "aarch64" in found["operating_system"]
    assert (found["python"][:4], found["runtime_version"]) == ("3.11", "1.20.1")
    assert found["processor"]


def test_networks_compute_the_same_and_bad_ones_are_failures(tmp_path: Path, tiny: SearchSpace) -> None:
    models = [
        timing_graph(every_operator()),
        unknown_operator(),
        *TimingGraphs(tiny, tiny.sample(3, seed=0), "inference"),
    ]
    found = measure(Board("board", store=tmp_path), models, rounds=2, max_seconds=0)
    assert [one.kind if isinstance(one, Failure) else "" for one in found] == ["", "unsupported", "", "", ""]
    assert all(len(one.samples_ms) == 6 for one in found if isinstance(one, Measurement))
