"""The predictor over operators joined with devices: against its own network, and devices that it knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

import search_spaces
from latency_predictors import LatencyPredictor, MatrixBank, get, load, reference_set
from latency_predictors.metrics import coverage, mdape, spearman
from latency_predictors.nasflat import Nasflat
from latency_predictors.nasflat_network import Trained, train
from latency_predictors.operator_counts import OperatorCounts, OperatorSums, describe
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice, simulated_bank
from search_spaces import SearchSpace

TRAINING = 12


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As fast for such small networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def convnet() -> SearchSpace:
    """With all its slots; images of one size have half of the operators to be learned."""
    return search_spaces.get("convnet", resolutions=(32,))


@pytest.fixture(scope="module")
def bank(convnet: SearchSpace) -> MatrixBank:
    known = simulated_bank(convnet, convnet.random_codes(300, np.random.default_rng(1)), TRAINING).latencies(convnet)
    latency_ms = known.latency_ms.copy()
    latency_ms[:50, 0] = np.nan  # a device need not have all networks
    return MatrixBank.of(convnet, known.codes, latency_ms, known.devices)


@pytest.fixture(scope="module")
def learned(convnet: SearchSpace, bank: MatrixBank) -> Nasflat:
    """A predictor that has learned from the bank and knows no device."""
    predictor = Nasflat(convnet, "inference", bank)
    assert predictor._learned.deviation > 0
    return predictor


class TestNasflat(LatencyPredictorContract):
    predictor = "nasflat"
    devices = 40
    known: ClassVar[Nasflat]

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace, learned: Nasflat) -> SearchSpace:
        cls.known = learned
        return convnet

    @classmethod
    def new(cls, space: SearchSpace) -> LatencyPredictor:
        return cls.known.blank()


def test_a_new_device_is_ranked_better_than_by_macs(convnet: SearchSpace, learned: Nasflat) -> None:
    reference = convnet.codes(reference_set(convnet, "inference", 10))
    unseen = convnet.random_codes(200, np.random.default_rng(2))
    features = convnet.features(unseen)
    ours, macs, covered = [], [], []
    for seed in range(100, 110):
        device = SimulatedDevice.draw(features, seed)
        predictor = learned.blank()
        predictor.calibrate(reference, device.measure(convnet.features(reference)))
        prediction, truth = predictor.predict(unseen), device.measure(features)
        ours.append(spearman(prediction.mean_ms, truth))
        macs.append(spearman(convnet.macs(unseen), truth))
        covered.append(coverage(prediction.low_ms, prediction.high_ms, truth))
    assert np.mean(ours) > np.mean(macs)
    assert 0.75 <= np.mean(covered) <= 1


def test_a_device_of_the_bank_is_recovered(convnet: SearchSpace, learned: Nasflat, bank: MatrixBank) -> None:
    known = bank.latencies(convnet)
    rows, rest = np.arange(60, 70), np.arange(70, 300)
    errors = []
    for latency_ms in known.latency_ms.T:
        there = rest[np.isfinite(latency_ms[rest])]
        predictor = learned.blank()
        few = rows if np.isfinite(latency_ms[rows]).all() else there[:10]
        predictor.calibrate(known.codes[few], latency_ms[few])
        errors.append(mdape(predictor.predict(known.codes[there]).mean_ms, latency_ms[there]))
    assert np.median(errors) < 12


def test_looking_up_equals_the_network(convnet: SearchSpace, learned: Nasflat) -> None:
    reference = convnet.codes(reference_set(convnet, "inference", 10))
    predictor = learned.blank()
    predictor.calibrate(reference, np.linspace(1, 2, 10))
    codes = convnet.canonical(convnet.random_codes(20, np.random.default_rng(4)))
    ops, counts = OperatorCounts(convnet, "inference").counts(codes)
    adapted = predictor._adapted
    with torch.inference_mode():
        logs = predictor._network(torch.tensor(counts, dtype=torch.float32), predictor._scaler(ops), adapted.devices)
        expected = ((logs + adapted.level) @ adapted.weight).exp()
    np.testing.assert_allclose(predictor.predict(codes).mean_ms, expected.numpy(), rtol=1e-4)


def test_operators_are_counted(convnet: SearchSpace) -> None:
    """Sums of what operators cost are the workload's own costs."""
    codes = convnet.canonical(convnet.random_codes(10, np.random.default_rng(5)))
    sums = OperatorSums(convnet, "inference", lambda op: np.array(list(op.costs().values()), dtype=float), 9)
    np.testing.assert_allclose(sums(codes), convnet.features(codes))
    ops, counts = OperatorCounts(convnet, "inference").counts(codes)
    np.testing.assert_allclose(counts @ np.array([list(op.costs().values()) for op in ops]), convnet.features(codes))
    assert len({tuple(describe(op)) for op in ops}) > 0.9 * len(ops)


def test_training_lowers_the_error() -> None:
    """On devices that charge a price for each of three operators the network finds the prices' sums."""
    generator = torch.Generator().manual_seed(0)
    counts, prices = torch.rand(200, 3, generator=generator), torch.rand(3, 40, generator=generator) + 0.1
    logs = (counts @ prices).log()
    trained: Trained = train(counts, torch.eye(3), logs, 4, seed=0)
    with torch.inference_mode():
        found = trained.network(counts, torch.eye(3), trained.devices)
    error = (found - found.mean(dim=0)) - (logs - logs.mean(dim=0))
    assert error.std() < 0.3 * logs.std(dim=0).mean()


def test_saving_changes_nothing(convnet: SearchSpace, learned: Nasflat, tmp_path: Path) -> None:
    reference = convnet.codes(reference_set(convnet, "inference", 10))
    predictor = learned.blank()
    predictor.calibrate(reference, np.linspace(1, 2, 10))
    predictor.save(tmp_path / "saved.json")
    unseen = convnet.random_codes(50, np.random.default_rng(6))
    before, after = predictor.predict(unseen), load(tmp_path / "saved.json", convnet).predict(unseen)
    np.testing.assert_array_equal(before.mean_ms, after.mean_ms)
    np.testing.assert_array_equal(before.high_ms, after.high_ms)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("safetensors_base64", "AAAA", "damaged"),
        ("centre", [1.0], "not those of this release"),
        ("kinds", ["conv"], "not one of predictor"),
    ],
)
def test_a_spoiled_file_raises(
    convnet: SearchSpace, learned: Nasflat, tmp_path: Path, key: str, value: object, sentence: str
) -> None:
    predictor = learned.blank()
    predictor.calibrate(convnet.codes(reference_set(convnet, "inference", 10)), np.linspace(1, 2, 10))
    predictor.save(tmp_path / "saved.json")
    document = json.loads((tmp_path / "saved.json").read_text())
    document["state"][key] = value
    (tmp_path / "saved.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / "saved.json", convnet)


def test_it_says_what_bank_it_needs(convnet: SearchSpace, bank: MatrixBank) -> None:
    reference = convnet.codes(reference_set(convnet, "inference", 10))
    one = MatrixBank.of(convnet, bank.latencies(convnet).codes, bank.latencies(convnet).latency_ms[:, 1:2], ["one"])
    for known, there in ((None, 0), (one, 1)):
        with pytest.raises(ValueError, match=f"2 devices or more have 20 networks or more.*this one has {there}"):
            get("nasflat")(convnet, "inference", known).calibrate(reference, np.ones(10))
