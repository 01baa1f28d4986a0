from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from latency_predictors import Bank, Calibration, Device, Failure, Measurement, calibrate, metrics, reference_set
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.measuring import TimingGraphs
from latency_predictors.gaussian_process import GaussianProcess
from search_spaces import Architecture, SearchSpace


@pytest.fixture(scope="module")
def real(tiny: SearchSpace) -> Calibration:
    """A calibration on this machine; what is timed here is not judged."""
    return calibrate(tiny, Device("local"), samples=6, holdout=5, max_seconds=0, rounds=4, repeats=2)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Measuring takes 0.1 ms plus 1 ms for each million of MACs; the list receives the arguments of every call."""
    calls: list[dict[str, Any]] = []

    def measure(
        engine: LocalEngine, device: Device, graphs: TimingGraphs, **options: Any
    ) -> tuple[dict[str, Any], list[Measurement]]:
        calls.append({"architectures": graphs.architectures, **options})
        return {}, [
            Measurement(float(ms), float(ms), (float(ms),), 0.01, True)
            for ms in 0.1 + graphs.space.macs(graphs.space.codes(graphs.architectures)) / 1e6
        ]

    monkeypatch.setattr(LocalEngine, "measure", measure)
    return calls


def test_a_real_calibration_has_everything(real: Calibration, tiny: SearchSpace) -> None:
    assert len(real.reference) == len(real.reference_codes) == 6
    assert len(real.holdout) == len(real.holdout_codes) == 5
    assert all(len(measurement.samples_ms) == 8 for measurement in (*real.reference, *real.holdout))
    assert set(real.errors) == {"spearman", "kendall", "mdape", "coverage90"}
    assert real.fingerprint["runtime"] == "onnxruntime"
    assert real.seconds > 0
    assert real.stable == (real.reference[0].repeat_error < real.protocol.target_error)
    predicted_ms = real.predictor.predict(tiny.random_codes(50, np.random.default_rng(0))).mean_ms
    assert (predicted_ms > 0).all()
    assert (predicted_ms < 100).all()


def test_networks_that_cannot_be_measured_are_one_sentence(tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object, **__: object) -> tuple[dict[str, Any], list[Measurement | Failure]]:
        good = Measurement(1.0, 1.0, (1.0,), 0.01, True)
        return {}, [good, Failure("crash", "the process of x ended by SIGSEGV"), *[good] * 5]

    monkeypatch.setattr(LocalEngine, "measure", measure)
    with pytest.raises(ValueError, match=r"^1 of 7 networks could not be measured; network 2: .* SIGSEGV$"):
        calibrate(tiny, Device("local"), samples=4, holdout=3)


def test_errors_are_of_the_holdout_and_the_fit_is_of_the_reference(real: Calibration, tiny: SearchSpace) -> None:
    alone = GaussianProcess(tiny)
    alone.calibrate(real.reference_codes, [measurement.latency_ms for measurement in real.reference])
    holdout_ms = [measurement.latency_ms for measurement in real.holdout]
    assert alone.document() == real.predictor.document()
    assert metrics.errors(alone.predict(real.holdout_codes), holdout_ms) == real.errors
    assert metrics.spearman(tiny.macs(real.holdout_codes), holdout_ms) == real.macs_spearman


def test_reference_and_holdout_share_nothing(real: Calibration, tiny: SearchSpace) -> None:
    codes = np.concatenate([real.reference_codes, real.holdout_codes])
    assert len(np.unique(codes, axis=0)) == 11
    assert tiny.architectures(real.reference_codes) == reference_set(tiny, "inference", 6)


def test_saving_changes_nothing(real: Calibration, tiny: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    real.save(path)
    for space in (None, tiny):
        again = Calibration.load(path, space)
        assert (again.predictor.space is tiny) == (space is tiny)
        for name in ("device", "fingerprint", "reference", "holdout", "errors", "macs_spearman", "protocol", "seconds"):
            assert getattr(again, name) == getattr(real, name), name
        np.testing.assert_array_equal(again.reference_codes, real.reference_codes)
        np.testing.assert_array_equal(again.holdout_codes, real.holdout_codes)
        assert again.predictor.document()["state"] == real.predictor.document()["state"]
        assert again.predictor.phase == real.predictor.phase
    row = json.loads(path.read_text())["holdout"][0]
    assert row["architecture"] == tiny.architectures(real.holdout_codes)[0].values
    assert len(row["samples_ms"]) == 8


def test_all_measurements_go_into_a_bank(real: Calibration, tiny: SearchSpace, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.jsonl")
    bank.append(real.records())
    bank.append(real.records())
    found = bank.records("local", tiny, "inference")
    assert found == real.records()
    assert [record.latency_ms for record in found] == [m.latency_ms for m in (*real.reference, *real.holdout)]
    architecture = Architecture(tiny.name, tuple(found[0].architecture.items()))
    assert architecture == tiny.architectures(real.reference_codes)[0]
    assert found[0].protocol["rounds"] == 4


def test_everything_is_timed_in_one_session(simulated: list[dict[str, Any]], convnet: SearchSpace) -> None:
    found = calibrate(convnet, Device("local"), "nonnegative", samples=12, holdout=7, seed=5, rounds=3)
    (call,) = simulated
    assert len(call["architectures"]) == 19
    assert (call["seed"], call["rounds"]) == (5, 3)
    assert found.protocol.rounds == 3
    # This device charges what the predictor can express, so that nearly nothing is wrong.
    assert found.errors["spearman"] > 0.999
    assert found.errors["mdape"] < 1
    assert found.macs_spearman == pytest.approx(1)


def test_the_seed_decides_the_holdout_alone(simulated: list[dict[str, Any]], convnet: SearchSpace) -> None:
    first, same, other = (calibrate(convnet, Device("local"), samples=5, holdout=6, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.reference_codes, other.reference_codes)
    np.testing.assert_array_equal(first.holdout_codes, same.holdout_codes)
    assert not np.array_equal(first.holdout_codes, other.holdout_codes)


def test_a_small_space_is_measured_whole(simulated: list[dict[str, Any]]) -> None:
    space = search_spaces.get(
        "convnet", resolutions=(8,), widths=((16,),), strides=(1,), depths=((1,),), kernels=(3,), head=16
    )
    assert space.size == 9
    for seed in range(5):
        found = calibrate(space, Device("local"), samples=4, holdout=5, seed=seed)
        assert len(np.unique(np.concatenate([found.reference_codes, found.holdout_codes]), axis=0)) == 9
    with pytest.raises(ValueError, match="9 architectures, fewer than the 10"):
        calibrate(space, Device("local"), samples=4, holdout=6)


def test_unstable_measurements_make_an_unstable_calibration(
    simulated: list[dict[str, Any]], convnet: SearchSpace
) -> None:
    found = calibrate(convnet, Device("local"), samples=5, holdout=2)
    assert found.stable
    shaky = Measurement(1.0, 1.0, (1.0,), 0.5, False)
    assert not Calibration(**{**vars(found), "holdout": (found.holdout[0], shaky)}).stable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor": "nonnegativ"}, "did you mean 'nonnegative'"),
        ({"predictor": "nonnegative", "samples": 2}, "3 samples or more, not 2"),
        ({"samples": 1}, "'gaussian_process' needs 2 samples or more, not 1"),
        ({"predictor": "auto", "samples": 0}, "'gaussian_process' needs 2 samples or more, not 0"),
        ({"holdout": 1}, "2 architectures or more, not 1"),
        ({"phase": "decode"}, "phase 'decode'"),
        ({"samples": 100_000, "holdout": 10**6}, "architectures, fewer than"),
        ({"rounds": 1}, "rounds is 2 or more"),
    ],
)
def test_bad_input_raises_before_anything_is_measured(
    simulated: list[dict[str, Any]], tiny: SearchSpace, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate(tiny, Device("local"), **options)
    assert simulated == []


def test_changed_files_raise(real: Calibration, convnet: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    real.save(path)
    data = json.loads(path.read_text())
    with pytest.raises(ValueError, match="calibrate anew"):
        Calibration.load(path, convnet)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"version": 0}, "format version 0"),
        ({"reference": [{}]}, "does not hold a calibration"),
        ({"device": {"nome": "local"}}, "does not hold a calibration"),
        ({"device": data["device"] | {"backend": "onnx"}}, "no backend 'onnx'"),
        ({"predictor": {}}, "not a saved latency predictor"),
    ]
    for change, message in changes:
        path.write_text(json.dumps(data | change))
        with pytest.raises(ValueError, match=message):
            Calibration.load(path)
    with pytest.raises(ValueError, match="a calibration cannot be read"):
        Calibration.load(tmp_path / "none.json")
