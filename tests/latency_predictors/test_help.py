"""The meta-learned predictor: against autograd, sums over edges and other libraries, and on devices it has not met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder
from torch import Tensor, nn

import search_spaces
from latency_predictors import LatencyPredictor, MatrixBank, get, help_training, load, reference_set
from latency_predictors.help import Help
from latency_predictors.help_network import (
    MODULATED,
    MODULATION,
    CellGraph,
    DeviceNetwork,
    Initialisation,
    OneHot,
    adapt,
)
from latency_predictors.help_training import Lessons, Training, divergence, meta_train
from nas.testing.predictors import LatencyPredictorContract, SimulatedDevice, simulated_bank
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.tabular.nasbench201 import EDGES

DEVICES, NETWORKS = 24, 700
#: Fewer and larger steps than on measured devices.
SHORT = Training(episodes=200, rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As fast for such small networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ten(convnet: SearchSpace) -> Codes:
    return convnet.codes(reference_set(convnet, "inference", 10))


@pytest.fixture(scope="module")
def bank(convnet: SearchSpace, ten: Codes) -> MatrixBank:
    codes = np.concatenate([ten, convnet.random_codes(NETWORKS, np.random.default_rng(1))])
    known = simulated_bank(convnet, codes, DEVICES).latencies(convnet)
    latency_ms = known.latency_ms.copy()
    others = np.array([code.tolist() not in convnet.canonical(ten).tolist() for code in known.codes])
    latency_ms[np.flatnonzero(others)[:50], 0] = np.nan  # a device need not have all networks
    return MatrixBank.of(convnet, known.codes, latency_ms, known.devices)


@pytest.fixture(scope="module")
def learned(convnet: SearchSpace, bank: MatrixBank, ten: Codes) -> Help:
    """A predictor that has learned from the bank."""
    predictor = Help(convnet, "inference", bank, SHORT)
    predictor.calibrate(ten, SimulatedDevice.draw(convnet.features(ten), 0).measure(convnet.features(ten)))
    return predictor


class TestHelp(LatencyPredictorContract):
    predictor = "help"
    devices = 40
    known: ClassVar[Help]

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, convnet: SearchSpace, learned: Help) -> SearchSpace:
        cls.known = learned
        return convnet

    @classmethod
    def new(cls, space: SearchSpace) -> LatencyPredictor:
        return cls.known.blank()


# ------------------------------------------------------------------ networks


def test_codes_are_encoded_as_by_scikit_learn(convnet: SearchSpace) -> None:
    codes = convnet.random_codes(50, np.random.default_rng(0))
    categories = [np.arange(len(choice.options)) for choice in convnet.choices]
    expected = OneHotEncoder(categories=categories, sparse_output=False).fit_transform(codes)
    np.testing.assert_array_equal(OneHot(convnet).encode(codes).numpy(), expected)


def test_a_cell_is_a_graph_of_its_edges() -> None:
    """What a node receives, added up one edge at a time, for a cell written out by hand from the paper's figure."""
    space = search_spaces.get("nasbench201")
    encoder = CellGraph(space).double()
    codes = space.random_codes(3, np.random.default_rng(0))
    leads = [(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)]
    assert len(EDGES) == 6
    assert EDGES == ("edge1_0", "edge2_0", "edge2_1", "edge3_0", "edge3_1", "edge3_2")
    leads += [(node, 8) for node in range(8)] + [(node, node) for node in range(9)]
    for code, found in zip(codes, encoder(encoder.encode(codes)), strict=True):
        kinds = [5, *code.tolist(), 6, 7]
        state = torch.eye(8, dtype=torch.float64)[kinds]
        for layer in (encoder.gc1, encoder.gc2, encoder.gc3, encoder.gc4):
            received = torch.zeros_like(state)
            for source, node in leads:
                received[node] += state[source]
            state = layer(received).relu()
        torch.testing.assert_close(found, state[8])


def test_the_device_is_joined_to_the_architecture(convnet: SearchSpace) -> None:
    network = DeviceNetwork(convnet, 10).double()
    x = network.encoder.encode(convnet.random_codes(5, np.random.default_rng(0)))
    embedding = torch.rand(10, dtype=torch.float64)
    device = nn.Sequential(network.hw1, nn.ReLU(), network.hw2, nn.ReLU())(embedding.expand(5, -1))
    head = nn.Sequential(network.fc3, nn.ReLU(), network.fc4, nn.ReLU(), network.fc5)
    torch.testing.assert_close(network(x, embedding), head(torch.cat([network.encoder(x), device], dim=1))[:, 0])


def test_adapting_is_two_steps_of_gradient_descent(convnet: SearchSpace) -> None:
    """From the modulated start, each number with a rate of its own; gradients by autograd on a module."""
    generator = torch.Generator().manual_seed(0)
    network, plain = DeviceNetwork(convnet, 4).double(), DeviceNetwork(convnet, 4).double()
    plain.load_state_dict(network.state_dict())
    x = network.encoder.encode(convnet.random_codes(6, np.random.default_rng(0)))
    embedding, y, change = (torch.rand(n, generator=generator).double() for n in ((4,), (6,), (3, 201)))
    start = {name: value.detach() for name, value in network.named_parameters()}
    rates = {name: 0.1 * torch.rand(value.shape, generator=generator).double() for name, value in start.items()}
    found = adapt(network, start, rates, change, x, embedding, y)
    with torch.no_grad():
        for number, layer in enumerate(MODULATED):
            module = plain.get_submodule(layer)
            assert isinstance(module, nn.Linear)
            module.weight.mul_(1 + MODULATION * change[number, :-1])
            module.bias.add_(MODULATION * change[number, -1])
    for _ in range(2):
        plain.zero_grad()
        ((plain(x, embedding) - y) ** 2).mean().backward()
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                assert parameter.grad is not None
                parameter.sub_(rates[name] * parameter.grad)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name], parameter.detach())


# ------------------------------------------------------------------ training


def test_the_divergence_is_that_of_torch() -> None:
    normal = torch.distributions.Normal
    mean, deviation = torch.randn(8, 3, 5), torch.rand(8, 3, 5) + 0.1
    expected = torch.distributions.kl_divergence(normal(mean, deviation), normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, deviation), expected)


def _lessons(space: SearchSpace, samples: int) -> Lessons:
    """Devices that charge for each option of each choice, the same on all but for level and spread."""
    codes = space.random_codes(200, np.random.default_rng(0))
    x = OneHot(space).encode(codes)
    cost = x @ torch.rand(x.shape[1], generator=torch.Generator().manual_seed(0))
    y = ((cost - cost.min()) / (cost.max() - cost.min())).repeat(6, 1)
    y[0, 20:30] = torch.nan
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[100:130] = True
    return Lessons(x, y, y[:, :10], torch.arange(10), samples, held_out)


@pytest.mark.parametrize("samples", [0, 7])
def test_what_is_drawn_was_not_held_out(tiny: SearchSpace, samples: int) -> None:
    lessons = _lessons(tiny, samples)
    rows = lessons.rows(0)
    order = np.argsort(lessons.y[0].numpy(), kind="stable")[:190]  # NaN last
    assert rows.tolist() == order[19:171].tolist()
    few, queries = lessons.draw(rows, torch.Generator().manual_seed(0))
    drawn = {*few.tolist(), *queries.tolist()}
    assert len(few) == (samples or 10)
    assert not set(few.tolist()) & set(queries.tolist())
    assert not drawn & set(range(100, 130))
    assert drawn - set(range(10)) == set(rows.tolist()) - set(range(100, 130)) - set(range(10))


def test_training_lowers_the_error_on_what_is_held_out(tiny: SearchSpace) -> None:
    lessons = _lessons(tiny, 0)
    before = Initialisation.draw(tiny, 10, 0)
    after = meta_train(tiny, lessons.of(range(4)), lessons.of([4, 5]), Training(episodes=60, rate=3e-3))

    def error(start: Initialisation) -> float:
        few, y = lessons.reference, lessons.y[5]
        adapted = start.adapt(lessons.x[few], lessons.embeddings[5], y[few])
        guess = start.predict(adapted, lessons.x, lessons.embeddings[5])
        return float((guess - y)[lessons.held_out].square().mean())

    assert error(after) < 0.1 * float(lessons.y[5].var())
    assert error(after) < 0.2 * error(before)


def test_the_best_episode_is_kept(tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, seen = iter([0.1, 0.7, 0.3]), []

    def ranking(learned: Initialisation, *others: Any) -> float:
        seen.append(learned.network.fc5.bias.detach().clone())
        return next(scores)

    monkeypatch.setattr(help_training, "_ranking", ranking)
    monkeypatch.setattr(help_training, "INTERVAL", 2)
    lessons = _lessons(tiny, 0)
    kept = meta_train(tiny, lessons.of(range(4)), lessons.of([4]), Training(episodes=5))
    assert len(seen) == 3
    torch.testing.assert_close(kept.network.fc5.bias, seen[1], rtol=0, atol=0)
    assert not torch.equal(seen[1], seen[2])


# ------------------------------------------------------------------ predictor


def _few_of_many() -> tuple[SearchSpace, MatrixBank, Codes]:
    space = search_spaces.get("nasbench201")
    codes = np.unique(space.canonical(space.random_codes(160, np.random.default_rng(0))), axis=0)
    return space, simulated_bank(space, codes, 4), codes


def test_a_small_space_is_predicted_once() -> None:
    """More rows than the space has architectures, and further samples beside the reference."""
    space, bank, codes = _few_of_many()
    predictor = Help(space, "inference", bank, Training(episodes=2))
    device = SimulatedDevice.draw(space.features(codes), 1)
    predictor.calibrate(codes[:15], device.measure(space.features(codes[:15])))
    many = space.random_codes(space.size + 1, np.random.default_rng(1))
    np.testing.assert_allclose(predictor.predict(many).mean_ms[:200], predictor.predict(many[:200]).mean_ms, rtol=1e-9)


def test_named_devices_choose_among_the_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    space, bank, codes = _few_of_many()
    given: list[tuple[Tensor, Tensor]] = []

    def spy(space: SearchSpace, training: Lessons, validation: Lessons, settings: Training) -> Initialisation:
        given.append((training.y, validation.y))
        return meta_train(space, training, validation, settings)

    monkeypatch.setattr("latency_predictors.help.meta_train", spy)
    predictor = Help(space, "inference", bank, Training(episodes=1, validation=("simulated_2",)))
    predictor.calibrate(codes[:10], np.linspace(1, 2, 10))
    predictor.blank().calibrate(codes[:10], np.linspace(2, 3, 10))
    ((training, validation),) = given  # learned once
    ms = bank.latencies(space).latency_ms
    low, high = ms[:10].min(axis=0), ms[:10].max(axis=0)
    normalised = ((ms - low) / (high - low)).T
    np.testing.assert_allclose(validation, normalised[[2]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(training, normalised[[0, 1, 3]], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="bank has no device 'simulated_9'"):
        Help(space, "inference", bank, Training(validation=("simulated_9",))).calibrate(codes[:10], np.ones(10))
    with pytest.raises(ValueError, match="all devices of the bank are for validation"):
        Help(space, "inference", bank, Training(validation=bank.latencies(space).devices)).calibrate(
            codes[:10], np.ones(10)
        )


@pytest.mark.parametrize("samples", [3, 10, 12])
def test_the_smallest_bank_is_enough(samples: int) -> None:
    space, bank, codes = _few_of_many()
    known = bank.latencies(space)
    least = MatrixBank.of(space, codes[:50], known.latency_ms[:50], known.devices)
    predictor = Help(space, "inference", least, Training(episodes=1))
    predictor.calibrate(codes[:samples], known.latency_ms[:samples, 0])
    found = predictor.predict(codes)
    assert (found.low_ms > 0).all()
    assert (found.low_ms < found.mean_ms).all()
    assert np.isfinite(found.high_ms).all()
    assert len(predictor._embedding) == min(samples, 10)


def test_a_timer_that_tells_nothing_apart(convnet: SearchSpace, learned: Help, ten: Codes) -> None:
    predictor = learned.blank()
    predictor.calibrate(ten, np.full(10, 3.0))
    np.testing.assert_allclose(predictor.predict(ten).mean_ms, 3, rtol=0.01)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("safetensors_base64", "AAAA", "damaged"),
        ("log_width", -1.0, "not positive and finite"),
        ("span_ms", "wide", "could not convert"),
        ("fastest_ms", None, "not one of predictor"),
    ],
)
def test_a_spoiled_file_raises(
    convnet: SearchSpace, learned: Help, tmp_path: Path, key: str, value: object, sentence: str
) -> None:
    learned.save(tmp_path / "saved.json")
    document = json.loads((tmp_path / "saved.json").read_text())
    document["state"][key] = value
    (tmp_path / "saved.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=sentence):
        load(tmp_path / "saved.json", convnet)


def test_it_says_what_bank_it_needs(convnet: SearchSpace, bank: MatrixBank, ten: Codes) -> None:
    known = bank.latencies(convnet)
    few = MatrixBank.of(convnet, known.codes, known.latency_ms[:, :3], known.devices[:3])
    for given, there in ((None, 0), (few, 3)):
        with pytest.raises(ValueError, match=f"4 devices or more have the first 10 networks.*this one has {there}"):
            get("help")(convnet, "inference", given).calibrate(ten, np.ones(10))


def test_a_device_that_cannot_tell_the_reference_apart_teaches_nothing() -> None:
    space, bank, codes = _few_of_many()
    known = bank.latencies(space)
    latency_ms = known.latency_ms.copy()
    latency_ms[:10, 2] = 3.0
    coarse = MatrixBank.of(space, known.codes, latency_ms, known.devices)
    with pytest.raises(ValueError, match="this one has 3"):
        Help(space, "inference", coarse).calibrate(codes[:10], np.ones(10))


def test_meta_training_takes_an_episode() -> None:
    with pytest.raises(ValueError, match="1 episode or more, not 0"):
        Training(episodes=0)


def test_random_numbers_of_the_user_stay(convnet: SearchSpace, learned: Help, ten: Codes, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    learned.calibrate(ten, np.linspace(1, 2, 10))
    learned.save(tmp_path / "saved.json")
    load(tmp_path / "saved.json", convnet)
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_the_bank_must_have_the_reference(convnet: SearchSpace, learned: Help) -> None:
    others = convnet.random_codes(10, np.random.default_rng(99))
    with pytest.raises(ValueError, match=r"this one has 0: measure those, or use 'gaussian_process'"):
        learned.blank().calibrate(others, np.ones(10))
