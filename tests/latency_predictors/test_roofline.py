from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

import latency_predictors
from latency_predictors import Bank
from latency_predictors.metrics import coverage, spearman
from latency_predictors.roofline import Roofline
from latency_predictors.roofline_costs import GENERIC_DEVICE, PARAMETERS, RooflineCosts
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice
from search_spaces import SearchSpace
from search_spaces.slot_workloads import SlotWorkloads
from search_spaces.space import Codes
from search_spaces.workload import Op, Workload


class TestRoofline(LatencyPredictorContract):
    predictor = "roofline"
    devices = 100

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace) -> SearchSpace:
        return convnet


def without_samples(space: SearchSpace) -> Roofline:
    predictor = Roofline(space)
    predictor.calibrate(np.empty((0, len(space.choices)), dtype=np.int64), [])
    return predictor


def test_two_operators_by_hand() -> None:
    """A convolution bound by its MACs, and an activation bound by its bytes."""
    conv = Op("conv", (0,), (1,), ((1, 16, 8, 8), (1, 32, 8, 8)), ((32, 16, 3, 3), (32,)),
              (("groups", 1), ("stride", (1, 1))))  # fmt: skip
    relu = Op("relu", (1,), (2,), ((1, 32, 8, 8), (1, 32, 8, 8)))

    class OneSlot:
        def __len__(self) -> int:
            return 1

        def index(self, codes: Codes) -> Codes:
            return np.zeros(len(codes), dtype=np.int64)

        def workload(self, row: int) -> Workload | None:
            return Workload((conv, relu), (0,), (2,), ((1, 16, 8, 8),))

    costs = RooflineCosts(SlotWorkloads([OneSlot()]))
    figures = dict.fromkeys(PARAMETERS, 1e-9) | {"macs_dense": 1e-6, "bytes": 3e-6, "kernels": 0.02, "call": 0.5}
    parts = costs.parts_ms(np.zeros((1, 1), dtype=np.int64), np.array([figures[name] for name in PARAMETERS]))[0]
    found = dict(zip(PARAMETERS, parts.tolist(), strict=True))
    macs = 32 * 8 * 8 * 16 * 9  # 0.295 ms, more than the 43,136 bytes of the convolution at 0.129 ms
    moved = 4 * 2 * 32 * 8 * 8
    assert found["macs_dense"] == pytest.approx(macs * 1e-6)
    assert found["bytes"] == pytest.approx(moved * 3e-6)
    assert found["kernels"] == pytest.approx(2 * 0.02)
    assert found["call"] == 0.5
    assert parts.sum() == pytest.approx(macs * 1e-6 + moved * 3e-6 + 0.04 + 0.5)


def test_the_look_up_equals_the_operators_one_by_one(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(20, np.random.default_rng(0))
    price = dict(zip(PARAMETERS, GENERIC_DEVICE, strict=True))
    for architecture, ms in zip(
        convnet.architectures(codes), without_samples(convnet).predict(codes).mean_ms, strict=True
    ):
        expected = price["call"]
        for op in convnet.workload(architecture).ops:
            cost = op.costs()
            arithmetic = sum(cost[name] * price[name] for name in cost if name.startswith("macs_"))
            memory = (cost["weight_bytes"] + cost["activation_bytes"]) * price["bytes"]
            expected += max(arithmetic, memory) + cost["kernels"] * price["kernels"]
        assert ms == pytest.approx(expected, rel=1e-9)


def test_without_samples_it_ranks_the_shipped_devices_and_holds_their_latencies(convnet: SearchSpace) -> None:
    known = Bank.shipped().latencies(convnet)
    prediction = without_samples(convnet).predict(known.codes)
    ranks, covered = [], []
    for measured_ms in known.latency_ms.T:
        there = np.isfinite(measured_ms)
        ranks.append(spearman(prediction.mean_ms[there], measured_ms[there]))
        covered.append(coverage(prediction.low_ms[there], prediction.high_ms[there], measured_ms[there]))
    assert np.mean(ranks) > 0.9
    assert np.mean(covered) > 0.9
    assert (prediction.high_ms / prediction.mean_ms > 10).all()  # it does not know the device


def test_one_sample_fits_the_scale(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(100, np.random.default_rng(1))
    generic_ms = without_samples(convnet).predict(codes).mean_ms
    predictor = Roofline(convnet)
    predictor.calibrate(codes[:1], 7 * generic_ms[:1])
    prediction = predictor.predict(codes)
    np.testing.assert_allclose(prediction.mean_ms / generic_ms, 7, rtol=0.25)
    assert spearman(prediction.mean_ms, generic_ms) > 0.99


def test_a_device_that_is_a_roofline_is_found(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(200, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    figures = np.array(GENERIC_DEVICE) * np.exp(rng.standard_normal(len(PARAMETERS)))
    measured_ms = RooflineCosts(convnet.slot_workloads()).parts_ms(codes, figures).sum(axis=1)
    predictor, widths = Roofline(convnet), []
    for samples, error in [(0, 1e9), (3, 0.4), (10, 0.15), (60, 0.05)]:
        predictor.calibrate(codes[:samples], measured_ms[:samples])
        prediction = predictor.predict(codes[100:])
        assert np.median(np.abs(prediction.mean_ms / measured_ms[100:] - 1)) < error
        widths.append(np.median(prediction.high_ms / prediction.low_ms))
    assert widths == sorted(widths, reverse=True)


def test_calibration_takes_less_than_a_second(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(10, np.random.default_rng(4))
    features = convnet.features(codes)
    predictor, measured_ms = Roofline(convnet), SimulatedDevice.draw(features, 0).measure(features)
    seconds = []
    for _ in range(3):
        started = perf_counter()
        predictor.calibrate(codes, measured_ms)
        seconds.append(perf_counter() - started)
    assert min(seconds) < 1


def test_extreme_latencies_give_finite_predictions(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(6, np.random.default_rng(5))
    predictor = Roofline(convnet)
    for measured_ms in (np.full(6, 1e-6), np.full(6, 1e9), np.geomspace(1e-6, 1e9, 6)):
        predictor.calibrate(codes, measured_ms)
        prediction = predictor.predict(codes)
        assert np.isfinite([prediction.low_ms, prediction.mean_ms]).all()
        assert (prediction.low_ms > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ms_per_unit": {"kernels": 1.0}}, "calibrate anew"),
        ({"ms_per_unit": dict.fromkeys(PARAMETERS, 0.0)}, "not a finite number above 0"),
        ({"log_variance": float("nan")}, "not a finite number above 0"),
        ({"freedom": -1}, "not a finite number above 0"),
        ({"log_covariance": [[1.0]]}, "not a matrix of its figures"),
        ({"log_covariance": (-np.eye(len(PARAMETERS))).tolist()}, "not positive"),
        ({"log_covariance": None}, "roofline"),
    ],
)
def test_a_changed_file_raises(tiny: SearchSpace, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "roofline.json"
    without_samples(tiny).save(path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"state": data["state"] | changes}))
    with pytest.raises(ValueError, match=message):
        latency_predictors.load(path, tiny)


def test_a_roofline_without_samples_survives_saving(tiny: SearchSpace, tmp_path: Path) -> None:
    predictor, codes = without_samples(tiny), tiny.random_codes(5, np.random.default_rng(0))
    predictor.save(tmp_path / "roofline.json")
    again = latency_predictors.load(tmp_path / "roofline.json", tiny)
    np.testing.assert_array_equal(again.predict(codes).high_ms, predictor.predict(codes).high_ms)
