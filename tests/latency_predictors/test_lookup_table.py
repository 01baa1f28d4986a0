from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import latency_predictors
from latency_predictors import lookup_table
from latency_predictors.lookup_table import EMPTY, LookupTable
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice
from search_spaces import SearchSpace
from search_spaces.workload import Workload


class TestLookupTable(LatencyPredictorContract):
    predictor = "lookup_table"
    devices = 40

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace) -> SearchSpace:
        return convnet


def exact_device(space: SearchSpace, seed: int = 0) -> SimulatedDevice:
    """An additive one without noise."""
    features = space.features(space.random_codes(50, np.random.default_rng(0)))
    return replace(SimulatedDevice.draw(features, seed), noise=0.0)


def test_the_sum_is_that_of_the_blocks_one_by_one(tiny: SearchSpace) -> None:
    prices = {"relu": 0.1, "conv": 0.7}

    def time(workloads: Sequence[Workload]) -> NDArray[np.float64]:
        return np.array([0.5 + sum(prices.get(op.kind, 0.3) for op in workload.ops) for workload in workloads])

    predictor, codes = LookupTable(tiny), tiny.random_codes(30, np.random.default_rng(1))
    predictor.measure_parts(time)
    empty_ms = time([EMPTY])[0]
    expected = [
        (sum(time([tiny.variant_workload(v)])[0] - empty_ms for v in blocks.values()), len(blocks), 1)
        for blocks in map(tiny.variants, tiny.architectures(codes))
    ]
    np.testing.assert_allclose(predictor._sums(codes), expected, rtol=1e-12)


def test_on_an_additive_device_it_is_exact(convnet: SearchSpace) -> None:
    codes, device = convnet.random_codes(100, np.random.default_rng(2)), exact_device(convnet)
    measured_ms = device.measure(convnet.features(codes))
    predictor = LookupTable(convnet)
    predictor.measure_parts(device.time)
    predictor.calibrate(codes[:10], measured_ms[:10])
    np.testing.assert_allclose(predictor.predict(codes[10:]).mean_ms, measured_ms[10:], rtol=1e-6)


def test_without_a_table_it_says_what_to_do(tiny: SearchSpace) -> None:
    codes = tiny.random_codes(10, np.random.default_rng(0))
    with pytest.raises(
        RuntimeError, match=r"nas calibrate CONFIG --device NAME --set calibration.predictor=lookup_table"
    ):
        LookupTable(tiny).calibrate(codes, np.ones(10))


def test_too_many_blocks_are_one_sentence_with_the_number(tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup_table, "MOST_BLOCKS", 20)
    with pytest.raises(ValueError, match=r"more than 20 distinct blocks \(its slots have \d+ variants\)"):
        LookupTable(tiny).measure_parts(exact_device(tiny).time)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks_ms": [1.0]}, "not of the blocks that the space has"),
        ({"blocks_digest": "0"}, "not of the blocks that the space has"),
        ({"factor": -1.0}, "not a finite number from 0"),
        ({"overhead_ms": float("nan")}, "not a finite number from 0"),
        ({"relative_error": None}, "lookup_table|finite"),
    ],
)
def test_a_changed_file_raises(tiny: SearchSpace, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    codes, device = tiny.random_codes(10, np.random.default_rng(0)), exact_device(tiny)
    predictor = LookupTable(tiny)
    predictor.measure_parts(device.time)
    predictor.calibrate(codes, device.measure(tiny.features(codes)))
    predictor.save(tmp_path / "table.json")
    data = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps(data | {"state": data["state"] | changes}))
    with pytest.raises(ValueError, match=message):
        latency_predictors.load(tmp_path / "table.json", tiny)


def test_another_quantity_takes_over_the_table(tiny: SearchSpace) -> None:
    codes, device = tiny.random_codes(10, np.random.default_rng(0)), exact_device(tiny)
    predictor = LookupTable(tiny)
    predictor.measure_parts(device.time)
    other = predictor.blank()
    energy_mj = 3 * device.measure(tiny.features(codes))
    other.calibrate(codes, energy_mj)
    np.testing.assert_allclose(other.predict(codes).mean_ms, energy_mj, rtol=1e-6)
    with pytest.raises(RuntimeError, match="calibrate"):
        predictor.predict(codes)
