from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import search_spaces
from latency_predictors.least_squares import relative_error
from latency_predictors.nonnegative import NonNegative
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice
from search_spaces import SearchSpace


class TestNonNegative(LatencyPredictorContract):
    predictor = "nonnegative"

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace) -> SearchSpace:
        return convnet


def test_a_device_without_noise_is_found_exactly(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(80, np.random.default_rng(0))
    features = convnet.features(codes)
    measured_ms = 0.3 + features @ (1 / np.maximum(1, features.mean(axis=0)))
    predictor = NonNegative(convnet)
    predictor.calibrate(codes[:30], measured_ms[:30])
    prediction = predictor.predict(codes[30:])
    np.testing.assert_allclose(prediction.mean_ms, measured_ms[30:], rtol=1e-6)
    # Even then the interval is not empty.
    assert (prediction.low_ms < measured_ms[30:]).all()
    assert (measured_ms[30:] < prediction.high_ms).all()


def test_weights_are_those_of_another_library(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(25, np.random.default_rng(1))
    features = convnet.features(codes)
    measured_ms = SimulatedDevice.draw(features, seed=4).measure(features)
    predictor = NonNegative(convnet)
    predictor.calibrate(codes, measured_ms)
    # Relative errors: rows over the measurement; the constant is one more column.
    rows = np.c_[features / np.maximum(1, features.max(axis=0)), np.ones(25)] / measured_ms[:, None]
    other = LinearRegression(positive=True, fit_intercept=False).fit(rows, np.ones(25))
    expected = rows @ other.coef_ * measured_ms
    np.testing.assert_allclose(predictor.predict(codes).mean_ms, expected, rtol=1e-6)


def test_doubling_all_latencies_doubles_predictions_and_keeps_relative_intervals(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(12, np.random.default_rng(2))
    features = convnet.features(codes)
    measured_ms = SimulatedDevice.draw(features, seed=5).measure(features)
    first, second = NonNegative(convnet), NonNegative(convnet)
    first.calibrate(codes, measured_ms)
    second.calibrate(codes, 2 * measured_ms)
    for name in ("mean_ms", "low_ms", "high_ms"):
        np.testing.assert_allclose(
            2 * getattr(first.predict(codes), name), getattr(second.predict(codes), name), rtol=1e-9
        )


def test_noisier_measurements_give_wider_intervals(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(20, np.random.default_rng(3))
    features = convnet.features(codes)
    exact_ms = 1 + features @ (1 / np.maximum(1, features.mean(axis=0)))
    noise = np.random.default_rng(4).standard_normal(20)
    widths = []
    for scatter in (0.01, 0.03, 0.1):
        predictor = NonNegative(convnet)
        predictor.calibrate(codes, exact_ms * np.exp(scatter * noise))
        prediction = predictor.predict(codes[:1])
        widths.append(float(prediction.high_ms[0] / prediction.low_ms[0]))
    assert widths == sorted(widths)
    assert widths[2] > widths[0] + 0.1


def test_more_costs_never_take_less_time(convnet: SearchSpace) -> None:
    codes = convnet.codes([convnet.smallest(), convnet.largest()])
    sample = convnet.random_codes(10, np.random.default_rng(5))
    features = convnet.features(sample)
    for seed in range(20):
        predictor = NonNegative(convnet)
        predictor.calibrate(sample, SimulatedDevice.draw(features, seed).measure(features))
        small_ms, large_ms = predictor.predict(codes).mean_ms
        assert small_ms <= large_ms


def test_three_measurements_are_enough_and_two_are_not(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(3, np.random.default_rng(6))
    predictor = NonNegative(convnet)
    predictor.calibrate(codes, [1.0, 2.0, 3.0])
    prediction = predictor.predict(codes)
    assert np.isfinite([prediction.mean_ms, prediction.low_ms, prediction.high_ms]).all()
    with pytest.raises(ValueError, match="needs 3 measurements or more, got 2"):
        predictor.calibrate(codes[:2], [1.0, 2.0])


def test_costs_that_no_architecture_has_are_left_alone() -> None:
    space = search_spaces.get("convnet", resolutions=(8,), widths=((16,), (32,)), strides=(1, 2), depths=((1,), (1, 2)),
                              blocks=("mbconv",), head=16)  # fmt: skip
    codes = space.random_codes(8, np.random.default_rng(0))
    assert not space.features(codes)[:, space.feature_names().index("macs_grouped")].any()
    predictor = NonNegative(space)
    predictor.calibrate(codes, 0.1 + space.macs(codes) / 1e6)
    assert np.isfinite(predictor.predict(codes).high_ms).all()
    assert predictor.document()["state"]["ms_per_unit"]["macs_grouped"] == 0


def test_a_cost_that_only_one_measured_architecture_has_gives_a_finite_interval() -> None:
    # Without the first row its cost has no weight, and its prediction is 0 ms.
    costs = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = relative_error(costs, np.array([1.0, 1.0, 1.0]))
    assert 1 < found < 1000
