"""Differentiable search against enumeration, finite differences, and the plain formulas of the papers."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import nas
import search_spaces
from nas.config import load
from nas.errors import UsageError
from nas.pipeline import open_stages, write_report
from nas.testing.spaces import scrambled
from nas.testing.strategies import copy
from nas.training.differentiable.distribution import Distribution
from nas.training.differentiable.mixture import Mixture, mixable
from nas.training.differentiable.penalty import PENALTIES
from nas.training.differentiable.search import DifferentiableSearch
from nas.training.strategies.fbnet import FBNet
from nas.training.strategies.proxylessnas import ProxylessNAS
from nas.training.strategy import Step
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet

TINY = Path(__file__).parents[2] / "e2e" / "tiny.yaml"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "convnet", resolutions=(6,), in_channels=1, stem=8, widths=((8, 16),), strides=(1,), depths=((1, 2),),
        blocks=("mbconv", "fused"), kernels=(3, 5), expansions=(2, 3), head=16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def supernet(space: SearchSpace) -> Supernet:
    return scrambled(space)


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 1, 6, 6, generator=generator), torch.randint(10, (20,), generator=generator)


def leaning(space: SearchSpace, seed: int = 0) -> Distribution:
    """A distribution that is not uniform."""
    distribution, generator = Distribution(space), torch.Generator().manual_seed(seed)
    for logits in distribution.logits:
        logits.data = torch.randn(len(logits), generator=generator)
    return distribution


def exact_mean(distribution: Distribution, values: np.ndarray, raw: np.ndarray) -> Tensor:
    """The expectation over all combinations of options, with its gradient."""
    p = distribution.probabilities()
    weights = torch.stack([torch.stack([p[c][i] for c, i in enumerate(row)]).prod() for row in raw.tolist()])
    return weights @ torch.tensor(values, dtype=torch.float32)


def test_the_expected_cost_and_its_gradient_are_those_of_all_networks(space: SearchSpace) -> None:
    distribution = leaning(space)
    raw = np.array(list(product(*(range(len(choice.options)) for choice in space.choices))))
    expected = exact_mean(distribution, space.macs(space.canonical(raw)), raw)
    found = distribution.expected(space.macs, 4000, np.random.default_rng(0))
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    exact = torch.autograd.grad(expected, distribution.logits, allow_unused=True)
    estimate = torch.autograd.grad(found, distribution.logits, allow_unused=True)
    scale = max(float(g.abs().max()) for g in exact if g is not None)
    for found_gradient, exact_gradient in zip(estimate, exact, strict=True):
        assert (found_gradient is None) == (exact_gradient is None)
        if found_gradient is not None and exact_gradient is not None:
            torch.testing.assert_close(found_gradient, exact_gradient, rtol=0, atol=0.03 * scale)


def test_samples_have_the_probabilities(space: SearchSpace) -> None:
    distribution = leaning(space)
    codes = distribution._draw(20_000, np.random.default_rng(0))
    for column, p in enumerate(distribution.probabilities()):
        counts = np.bincount(codes[:, column], minlength=len(p)) / len(codes)
        np.testing.assert_allclose(counts, p.detach().numpy(), atol=0.015)


def test_the_log_probability_counts_only_choices_that_have_an_effect(space: SearchSpace) -> None:
    distribution = leaning(space)
    codes = space.codes([space.smallest()])[0]
    columns = list(range(len(space.choices)))
    active = space.active(codes[None])[0]
    assert not active.all()
    p = [q[i].item() for q, i in zip(distribution.probabilities(), codes, strict=True)]
    expected = sum(math.log(q) for q, on in zip(p, active, strict=True) if on)
    assert distribution.log_probability(codes, columns).item() == pytest.approx(expected, rel=1e-5)


def test_choices_of_one_slot_are_mixed_and_shared_ones_are_not(space: SearchSpace) -> None:
    blocks = {f"stage1_block{i}_{what}" for i in (1, 2) for what in ("kind", "kernel", "expansion")}
    assert mixable(space) == blocks  # width and depth are read by several slots


def test_a_mixture_of_one_variant_is_the_activated_network(
    space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    """The most probable variant alone, of a distribution that is nearly sure, is its mode."""
    distribution = leaning(space)
    for logits in distribution.logits:
        logits.data *= 100
    network = copy(supernet).eval()
    mode = space.architectures(distribution.mode())[0]
    names = [choice.name for choice in space.choices]
    logits = dict(zip(names, distribution.logits, strict=True))
    with torch.no_grad():
        found = Mixture(network, mixable(space))(
            batch[0], mode, logits, lambda scores: ([int(scores.argmax())], torch.ones(1))
        )
        network.activate(mode)
        torch.testing.assert_close(found, network(batch[0]))


def test_weights_of_a_mixture_have_the_gradients_of_finite_differences(
    space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    network = copy(supernet).eval().double()
    distribution = leaning(space)
    for logits in distribution.logits:
        logits.data = logits.data.double()
    fixed = space.largest()
    names = [choice.name for choice in space.choices]

    def loss() -> Tensor:
        logits = dict(zip(names, distribution.logits, strict=True))
        outputs = Mixture(network, mixable(space))(
            batch[0].double(), fixed, logits, lambda scores: (list(range(len(scores))), scores.softmax(0))
        )
        return F.cross_entropy(outputs, batch[1])

    gradients = torch.autograd.grad(loss(), distribution.logits, allow_unused=True)
    checked = 0
    for name, logits, gradient in zip(names, distribution.logits, gradients, strict=True):
        if name not in mixable(space) or gradient is None:
            continue
        with torch.no_grad():
            before = logits.clone()
            logits[0] += 1e-5
            above = loss()
            logits[0] -= 2e-5
            below = loss()
            logits.copy_(before)
        assert gradient[0].item() == pytest.approx(((above - below) / 2e-5).item(), rel=1e-4, abs=1e-8)
        checked += 1
    assert checked >= 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("multiplied", 2.0 * 0.2 * (math.log(300.0) / math.log(100.0)) ** 0.3),
        ("unreferenced", 2.0 * 0.2 * math.log(300.0) ** 0.3),
        ("added", 2.0 + 0.2 * (300.0 - 100.0) / 100.0),
    ],
)
def test_penalties_are_the_published_formulas(name: str, expected: float) -> None:
    found = PENALTIES[name](torch.tensor(2.0), torch.tensor(300.0), 100.0, 0.2, 0.3)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def search(strategy: DifferentiableSearch, supernet: Supernet, batch: tuple[Tensor, Tensor], steps: int) -> list[float]:
    """Train; gives the expected costs on the way."""
    network, optimizer = copy(supernet).train(), None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    costs = []
    for number in range(steps):
        optimizer.zero_grad()
        step = Step(number, steps, np.random.default_rng([1, number]), F.cross_entropy)
        losses = strategy.step(network, *batch, step)
        strategy.observe(network, losses)
        optimizer.step()
        costs.append(losses.get("expected_cost", math.nan))
    return costs


@pytest.mark.parametrize("make", [ProxylessNAS, FBNet])
def test_the_latency_term_moves_the_expected_latency(
    make: type[ProxylessNAS | FBNet], space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    """With a strong term the search ends at much cheaper networks than without one, and below where it began."""
    ends = {}
    for alpha in (0.0, 20.0):
        strategy = make(penalty="added", alpha=alpha, warmup_share=0.0, learning_rate=0.1)
        strategy.bind({"latency_ms.device": lambda codes: space.macs(codes) / 1e6}, space)
        costs = search(strategy, supernet, batch, 60)
        ends[alpha] = float(
            strategy.distribution(space).expected(lambda codes: space.macs(codes) / 1e6, 500, np.random.default_rng(0))
        )
        begin = costs[0]
    smallest = float(space.macs(space.codes([space.smallest()]))[0]) / 1e6
    assert ends[20.0] < 0.75 * begin
    assert ends[20.0] < 0.8 * ends[0.0]
    assert ends[20.0] < 1.5 * smallest
    chosen = strategy.chosen(space)
    assert chosen is not None
    assert space.macs(chosen)[0] / 1e6 < begin


def test_weights_alone_are_trained_during_the_warm_up(
    space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    strategy = ProxylessNAS(warmup_share=0.5)
    strategy.bind({"latency_ms.device": space.macs}, space)
    step = Step(4, 10, np.random.default_rng(0), F.cross_entropy)
    assert set(strategy.step(copy(supernet), *batch, step)) == {"network"}
    later = Step(5, 10, np.random.default_rng(0), F.cross_entropy)
    assert set(strategy.step(copy(supernet), *batch, later)) == {"network", "architecture", "expected_cost"}


def test_images_of_the_distribution_do_not_reach_the_weights(
    space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    """Other images in the part of the batch for the distribution leave the gradients of the weights as they are."""
    found = []
    for scale in (1.0, 3.0):
        strategy, network = FBNet(warmup_share=0.0), copy(supernet).eval()
        strategy.bind({"latency_ms.device": space.macs}, space)
        images = batch[0].clone()
        images[16:] *= scale
        strategy.step(network, images, batch[1], Step(0, 10, np.random.default_rng(0), F.cross_entropy))
        weights = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        found.append((weights, [deepcopy(p.grad) for p in strategy.parameters()]))
    assert found[0][0].keys() == found[1][0].keys()
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])
    assert any(not torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


@pytest.mark.parametrize(
    ("name", "options", "networks"),
    [
        ("proxylessnas", '{"learning_rate": 0.3, "warmup_share": 0.1}', 1),  # latency as this machine's predictor says
        ("efficientformer", '{"cost": "macs_m", "networks": 2}', 2),
    ],
)
def test_the_search_begins_with_the_networks_that_the_training_chose(
    name: str, options: str, networks: int, tmp_path: Path
) -> None:
    config = load(
        TINY,
        [
            f"directory={tmp_path / 'run'}",
            f"training.strategy={{name: {name}, options: {options}}}",
            "search.evaluations=3",
            "search.limits=[]",
        ],
    )
    stages = open_stages(config)
    with stages.exclusive():
        stages.calibrate()
        stages.train()
        stages.search()
    write_report(stages, stages.run.report_file)
    training = json.loads((stages.run.path / "training.json").read_text())
    found = sorted(nas.search(stages.run.path / "config.yaml"), key=lambda evaluation: evaluation.number)
    assert [evaluation.architecture.values for evaluation in found[:networks]] == training["chosen"]
    sources = [evaluation.proposal.get("source") == name for evaluation in found]
    assert sources == [True] * networks + [False] * (3 - networks)
    assert all(epoch["losses"]["expected_cost"] > 0 for epoch in training["epochs"])


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("{name: fbnet, options: {cost: latency_ms.phone}}", "cost is 'latency_ms.phone'"),
        ("{name: efficientformer, options: {limit: 1.0e-9}}", "limit is 1e-09, but the smallest network of the space"),
    ],
)
def test_a_metric_or_limit_that_cannot_be_is_said_before_training(strategy: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"training.strategy.options: {message}"):
        nas.run(TINY, f"directory={tmp_path / 'run'}", f"training.strategy={strategy}")
    assert not (tmp_path / "run" / "training.json").exists()


def test_a_restored_state_is_given_again_before_any_step(
    space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    """A training that is interrupted twice in a row without a step between loses nothing."""
    first = ProxylessNAS(warmup_share=0.0)
    first.bind({"latency_ms.device": space.macs}, space)
    search(first, supernet, batch, 3)
    second, third = ProxylessNAS(), ProxylessNAS()
    second.restore(first.state())
    third.restore(second.state())
    assert third.baseline == first.baseline
    logits = zip(third.distribution(space).logits, first.distribution(space).logits, strict=True)
    assert all(torch.equal(found, expected) for found, expected in logits)
    assert any(bool(expected.any()) for expected in first.distribution(space).logits)


def test_an_unknown_metric_raises(space: SearchSpace) -> None:
    with pytest.raises(ValueError, match=r"cost is 'latency_ms.phone', give one of latency_ms.device"):
        ProxylessNAS(cost="latency_ms.phone").bind({"latency_ms.device": space.macs}, space)


def test_a_step_without_costs_raises(space: SearchSpace, supernet: Supernet, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(RuntimeError, match="needs `bind`"):
        FBNet(warmup_share=0.0).step(copy(supernet), *batch, Step(0, 1, np.random.default_rng(0), F.cross_entropy))
