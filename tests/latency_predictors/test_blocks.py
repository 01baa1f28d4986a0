from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import search_spaces
from latency_predictors import Calibration, Device, Failure, Measurement, calibrate
from latency_predictors.devices.blocks import ANCHORS, CHUNK, BlockTimer
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.measuring import Progress, Protocol
from latency_predictors.devices.results import MeasuringError
from search_spaces import SearchSpace
from search_spaces.workload import Workload

MARKS = {"processor": "x", "runtime": "onnxruntime", "runtime_version": "1", "threads": 1}


class CountingEngine(LocalEngine):
    """A block takes as many ms as it has operators; each call is `slower` than the one before.

    Args:
        broken_after: calls, after which every block fails.
    """

    def __init__(self, slower: float = 1.0, broken_after: int = 1000) -> None:
        self.slower, self.broken_after, self.sizes, self.marks = slower, broken_after, list[int](), dict(MARKS)

    def measure(
        self, device: Device, models: Sequence[bytes], *, progress: Progress | None = None, **protocol: Any
    ) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        factor = self.slower ** len(self.sizes)
        self.sizes.append(len(models))
        if len(self.sizes) > self.broken_after:
            return self.marks, [Failure("crash", "the process ended by SIGSEGV") for _ in models]
        found = [len(onnx.load_from_string(models[number]).graph.node) * factor for number in range(len(models))]
        return self.marks, [Measurement(ms, ms, (ms,), 0.01, True) for ms in found]


@pytest.fixture(scope="module")
def blocks() -> list[Workload]:
    """All blocks of a space: several chunks."""
    space = search_spaces.get("convnet", resolutions=(8, 12, 16), in_channels=1, stem=16, widths=((16,), (32,)),
                              strides=(1, 2), depths=((1, 2), (1, 2)), head=64)  # fmt: skip
    slots = space.slot_workloads()
    slots.number_all(2000)
    assert len(slots.workloads) > CHUNK
    return slots.workloads


def expected_ms(blocks: Sequence[Workload]) -> list[int]:
    engine = CountingEngine()
    return [round(BlockTimer(Device("local"), engine, Protocol())([block])[0]) for block in blocks]


def test_drift_between_chunks_is_taken_out_and_progress_told(blocks: list[Workload]) -> None:
    engine, told = CountingEngine(slower=1.3), list[tuple[int, int]]()
    timer = BlockTimer(Device("local"), engine, Protocol(), progress=lambda done, of: told.append((done, of)))
    np.testing.assert_allclose(timer(blocks), expected_ms(blocks), rtol=1e-9)
    assert engine.sizes[0] == CHUNK
    assert sum(engine.sizes) == len(blocks) + ANCHORS * (len(engine.sizes) - 1)
    assert told[0] == (CHUNK, len(blocks))
    assert told[-1] == (len(blocks), len(blocks))


def test_a_block_that_fails_is_one_sentence_and_the_others_are_kept(blocks: list[Workload], tmp_path: Path) -> None:
    file, device = tmp_path / "blocks" / "local.json", Device("local")
    with pytest.raises(MeasuringError, match=r"^the block of .*conv.* on 1x\d.* cannot be measured: the process ended"):
        BlockTimer(device, CountingEngine(broken_after=1), Protocol(), file)(blocks)
    assert len(json.loads(file.read_text())["latency_ms"]) == CHUNK
    again = CountingEngine(slower=1.3)
    np.testing.assert_allclose(BlockTimer(device, again, Protocol(), file)(blocks), expected_ms(blocks), rtol=1e-9)
    assert sum(again.sizes) == len(blocks) - CHUNK + ANCHORS * len(again.sizes)
    idle = CountingEngine()
    BlockTimer(device, idle, Protocol(), file)(blocks)
    assert idle.sizes == []


def test_a_table_of_another_device_raises_and_stays(blocks: list[Workload], tmp_path: Path) -> None:
    file = tmp_path / "local.json"
    BlockTimer(Device("local"), CountingEngine(), Protocol(), file)(blocks[:3])
    before = file.read_bytes()
    other = CountingEngine()
    other.marks["runtime_version"] = "2"
    with pytest.raises(ValueError, match=r"runtime_version '1', now it is '2': delete the file"):
        BlockTimer(Device("local"), other, Protocol(), file)(blocks[:5])
    with pytest.raises(ValueError, match="other settings: delete it"):
        BlockTimer(Device("local", options={"threads": 2}), CountingEngine(), Protocol(), file)(blocks[:5])
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "format version 9"),
        ({"latency_ms": {"a": -1.0}}, "not above 0"),
        ({"latency_ms": [1]}, "not a block table"),
        ({"fingerprint": 3}, "not a block table"),
    ],
)
def test_a_damaged_table_raises(blocks: list[Workload], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "local.json"
    timer = BlockTimer(Device("local"), CountingEngine(), Protocol(), file)
    timer(blocks[:3])
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        timer(blocks[:3])


def test_a_real_device_gets_its_table_and_its_networks(tmp_path: Path) -> None:
    space = search_spaces.get("convnet", resolutions=(8,), widths=((16, 32),), strides=(1,), depths=((1, 2),), head=16,
                              stem=16, kernels=(3,), blocks=("mbconv",), expansions=(2, 4))  # fmt: skip
    quick: dict[str, Any] = {"rounds": 2, "repeats": 1, "max_seconds": 0}
    file = tmp_path / "blocks.json"
    found = calibrate(space, Device("local"), "lookup_table", samples=5, holdout=2, blocks_file=file, **quick)
    assert len(json.loads(file.read_text())["latency_ms"]) > 4
    found.save(tmp_path / "calibration.json")
    codes = found.holdout_codes
    again = Calibration.load(tmp_path / "calibration.json").predictor.predict(codes)
    np.testing.assert_array_equal(again.mean_ms, found.predictor.predict(codes).mean_ms)
    assert (again.mean_ms > 0).all()


def test_a_roofline_is_tested_on_a_real_device_without_samples(tiny: SearchSpace, tmp_path: Path) -> None:
    found = calibrate(tiny, Device("local"), "roofline", samples=0, holdout=3, rounds=2, repeats=1, max_seconds=0)
    assert found.reference == ()
    found.save(tmp_path / "calibration.json")
    assert len(Calibration.load(tmp_path / "calibration.json", tiny).reference_codes) == 0
    with pytest.raises(ValueError, match="needs 3 samples or more, not 0"):
        calibrate(tiny, Device("local"), "nonnegative", samples=0, engine=LocalEngine())
