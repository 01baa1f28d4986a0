"""The Gaussian process against scikit-learn's, and its real devices against the bank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

import latency_predictors.gaussian_process as module
from latency_predictors import MatrixBank, get, load, reference_set
from latency_predictors.gaussian_process import LEVEL, GaussianProcess
from latency_predictors.metrics import mdape
from latency_predictors.simulated_devices import SimulatedDevices
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice
from search_spaces import SearchSpace


class TestGaussianProcess(LatencyPredictorContract):
    predictor = "gaussian_process"


def test_it_is_a_gaussian_process_regression(convnet: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one hypothesis and noise that is all but normal it equals scikit-learn's on the same features."""
    hypothesis = module._Model(None, 1.0, 0.0, 0.05, 0.0)
    monkeypatch.setattr(module, "_hypotheses", lambda real: [hypothesis])
    monkeypatch.setattr(module, "regress", lambda *given: _regress(*given, freedom=1e13))
    monkeypatch.setattr(module, "FREEDOM", 1e9)
    rng = np.random.default_rng(0)
    measured, unseen = convnet.random_codes(12, rng), convnet.random_codes(40, rng)
    measured_ms = np.exp(rng.standard_normal(12))
    ours = GaussianProcess(convnet)
    ours.calibrate(measured, measured_ms)
    prediction = ours.predict(unseen)

    logs = SimulatedDevices(convnet, "inference").log_ms(np.concatenate([measured, unseen])).astype(float)
    features = (logs - logs.mean(axis=1, keepdims=True)) / np.sqrt(logs.shape[1])
    kernel = DotProduct(0.0, "fixed") + ConstantKernel(LEVEL**2, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=0.05**2, optimizer=None)
    residual = np.log(measured_ms) - logs[:12].mean(axis=1)
    theirs.fit(features[:12], residual - residual.mean())
    mean, deviation = theirs.predict(features[12:], return_std=True)
    np.testing.assert_allclose(np.log(prediction.mean_ms), residual.mean() + logs[12:].mean(axis=1) + mean, atol=1e-5)
    width = np.log(prediction.high_ms / prediction.mean_ms)
    np.testing.assert_allclose(width, 1.6448536 * np.sqrt(deviation**2 + 0.05**2), rtol=1e-5)


_regress = module.regress


def strange_device(space: SearchSpace, codes: np.ndarray) -> np.ndarray:
    """A device unlike any simulated one: what it takes depends on the parity of the options alone."""
    return np.exp(0.05 * (space.canonical(codes) % 2).sum(axis=1) + 1)


def bank_of(space: SearchSpace, rng: np.random.Generator) -> MatrixBank:
    codes = space.random_codes(400, rng)
    return MatrixBank.of(space, codes, strange_device(space, codes)[:, None], ["strange"])


def test_a_real_device_of_the_bank_is_recognised(convnet: SearchSpace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bank = bank_of(convnet, rng)
    reference = convnet.codes(reference_set(convnet, "inference", 10))
    unseen = convnet.random_codes(200, rng)
    measured_ms = 3 * strange_device(convnet, reference)  # the same device at a third of its clock
    errors = {}
    for name, known in (("with", bank), ("without", None)):
        predictor = get("gaussian_process")(convnet, "inference", known)
        predictor.calibrate(reference, measured_ms)
        errors[name] = mdape(predictor.predict(unseen).mean_ms, 3 * strange_device(convnet, unseen))
        predictor.save(tmp_path / f"{name}.json")
    assert errors["with"] < 0.5 * errors["without"]
    again = load(tmp_path / "with.json", convnet).predict(unseen)  # without the bank
    assert mdape(again.mean_ms, 3 * strange_device(convnet, unseen)) == errors["with"]


def test_a_real_device_that_points_the_wrong_way_gets_no_weight(convnet: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    reference, unseen = convnet.codes(reference_set(convnet, "inference", 10)), convnet.random_codes(200, rng)
    for seed in range(5):
        device = SimulatedDevice.draw(convnet.features(unseen), seed)
        measured_ms, truth = device.measure(convnet.features(reference)), device.measure(convnet.features(unseen))
        errors = []
        for known in (bank_of(convnet, rng), None):
            predictor = get("gaussian_process")(convnet, "inference", known)
            predictor.calibrate(reference, measured_ms)
            errors.append(mdape(predictor.predict(unseen).mean_ms, truth))
        assert errors[0] < errors[1] + 0.5


def test_an_outlier_among_ten_measurements_does_little_harm(convnet: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    reference, unseen = convnet.codes(reference_set(convnet, "inference", 10)), convnet.random_codes(200, rng)
    predictor = get("gaussian_process")(convnet)
    clean, spoiled = [], []
    for seed in range(10):
        device = SimulatedDevice.draw(convnet.features(unseen), seed)
        measured_ms, truth = device.measure(convnet.features(reference)), device.measure(convnet.features(unseen))
        predictor.calibrate(reference, measured_ms)
        clean.append(mdape(predictor.predict(unseen).mean_ms, truth))
        measured_ms[seed] *= 2
        predictor.calibrate(reference, measured_ms)
        spoiled.append(mdape(predictor.predict(unseen).mean_ms, truth))
    assert np.median(spoiled) < np.median(clean) + 5


def test_more_measurements_help(convnet: SearchSpace) -> None:
    """Where no prior fits, the residual of every choice learns from a hundred measurements."""
    rng = np.random.default_rng(0)
    unseen = convnet.random_codes(300, rng)
    errors = []
    for n in (10, 100):
        codes = convnet.random_codes(n, rng)
        predictor = get("gaussian_process")(convnet)
        predictor.calibrate(codes, strange_device(convnet, codes))
        errors.append(mdape(predictor.predict(unseen).mean_ms, strange_device(convnet, unseen)))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: state["measured_ms"].pop(), "one positive number for each architecture"),
        (lambda state: state.pop("population"), "population"),
        (lambda state: state["real_devices"]["strange"]["options"].pop(), "not of this space"),
        (
            lambda state: state["real_devices"]["strange"]["simulated"].__setitem__(0, None),
            "not one of predictor|finite",
        ),
    ],
)
def test_a_spoiled_file_raises(convnet: SearchSpace, tmp_path: Path, spoil: object, sentence: str) -> None:
    codes = convnet.codes(reference_set(convnet, "inference", 10))
    predictor = get("gaussian_process")(convnet, "inference", bank_of(convnet, np.random.default_rng(0)))
    predictor.calibrate(codes, strange_device(convnet, codes))
    predictor.save(tmp_path / "saved.json")
    document = json.loads((tmp_path / "saved.json").read_text())
    spoil(document["state"])  # type: ignore[operator]
    (tmp_path / "saved.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / "saved.json", convnet)
