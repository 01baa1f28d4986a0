"""What is learned of real devices, and how well that holds for networks that were left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from latency_predictors import MatrixBank
from latency_predictors.real_devices import FEWEST, NOISE, RealDevices, _ridge
from latency_predictors.simulated_devices import SimulatedDevices
from search_spaces import SearchSpace


def test_the_error_is_that_of_leaving_out_one_network_after_the_other() -> None:
    """Against as many fits of scikit-learn's ridge regression; rows without a latency do not count."""
    rng = np.random.default_rng(0)
    inputs, target = rng.standard_normal((30, 5)) * 0.05, rng.standard_normal(30) * 0.1
    target[[3, 17]] = np.nan
    weights, error = _ridge(inputs, target)
    known = np.flatnonzero(np.isfinite(target))
    np.testing.assert_allclose(weights, Ridge(NOISE**2).fit(inputs[known], target[known]).coef_, rtol=1e-6)
    left_out = []
    for row in known:
        rest = known[known != row]
        fitted = Ridge(NOISE**2).fit(inputs[rest], target[rest])
        left_out.append(target[row] - fitted.predict(inputs[row : row + 1])[0])
    assert error == pytest.approx(np.sqrt(np.mean(np.square(left_out))), rel=1e-6)


def test_a_simulated_device_is_learned(convnet: SearchSpace) -> None:
    """Of a device of the population itself, noise is all that is left."""
    rng = np.random.default_rng(1)
    simulated = SimulatedDevices(convnet, "inference")
    codes, unseen = convnet.random_codes(300, rng), convnet.random_codes(100, rng)
    latency_ms = np.exp(simulated.log_ms(codes)[:, 7] + 0.02 * rng.standard_normal(300))
    bank = MatrixBank.of(convnet, codes, latency_ms[:, None], ["seventh"])
    real = RealDevices.learn(convnet, "inference", simulated, bank)
    logs = simulated.log_ms(unseen)
    difference = real.log_ms(unseen, logs)[:, 0] - logs[:, 7]
    assert (difference - difference.mean()).std() < 0.02
    assert 0.015 < real.errors[0] < 0.04


def test_devices_with_few_networks_are_left_out(convnet: SearchSpace) -> None:
    rng = np.random.default_rng(2)
    codes = convnet.random_codes(50, rng)
    latency_ms = np.exp(rng.standard_normal((50, 3)))
    latency_ms[FEWEST - 1 :, 1] = np.nan
    known = MatrixBank.of(convnet, codes, latency_ms, ["a", "few", "b"])
    simulated = SimulatedDevices(convnet, "inference")
    assert RealDevices.learn(convnet, "inference", simulated, known).names == ("a", "b")
    assert RealDevices.learn(convnet, "inference", simulated, None).names == ()
