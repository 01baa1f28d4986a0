"""Slimming against the greedy rule by hand, enumeration of small spaces, and what its path must keep in others."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import search_spaces
from nas.testing.spaces import scrambled
from nas.training.differentiable.distribution import Distribution
from nas.training.differentiable.slimming import importance, slim
from nas.training.strategies.efficientformer import EfficientFormer
from nas.training.strategy import Cost, Step
from search_spaces import Choice, SearchSpace
from search_spaces.space import Codes

#: The options of an additive space have these costs, from the first to the last one of each choice.
COSTS = ((1.0, 2.5, 4.0), (0.5, 3.0), (1.0, 1.5, 2.0, 6.0), (2.0, 2.25, 5.0))


@pytest.fixture
def additive() -> SearchSpace:
    return SearchSpace("toy", tuple(Choice(f"c{i}", tuple(range(len(costs)))) for i, costs in enumerate(COSTS)), ())


def additive_cost(codes: Codes) -> NDArray[np.float64]:
    return np.array([sum(COSTS[column][option] for column, option in enumerate(row)) for row in codes.tolist()])


def leaning(space: SearchSpace, seed: int) -> Distribution:
    distribution, generator = Distribution(space), torch.Generator().manual_seed(seed)
    for logits in distribution.logits:
        logits.data = torch.randn(len(logits), generator=generator)
    return distribution


def log_p(distribution: Distribution) -> list[list[float]]:
    """Logarithms of the probabilities of all options."""
    return [[math.log(p) for p in some.tolist()] for some in distribution.probabilities()]


def raw_codes(space: SearchSpace) -> list[tuple[int, ...]]:
    return list(product(*(range(len(choice.options)) for choice in space.choices)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limit", [16.9, 12.0, 7.0, 4.5])
def test_the_path_is_that_of_the_greedy_rule_by_hand(additive: SearchSpace, seed: int, limit: float) -> None:
    distribution = leaning(additive, seed)
    logarithms = log_p(distribution)
    network = [len(costs) - 1 for costs in COSTS]
    expected = [list(network)]
    while sum(costs[option] for costs, option in zip(COSTS, network, strict=True)) > limit:
        ratios = {
            (column, option): (logarithms[column][network[column]] - logarithms[column][option])
            / (COSTS[column][network[column]] - COSTS[column][option])
            for column in range(len(COSTS))
            for option in range(network[column])
        }
        column, option = min(ratios, key=lambda change: ratios[change])
        network[column] = option
        expected.append(list(network))
    assert slim(distribution, additive_cost, limit).tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_no_network_of_the_cost_is_more_important_where_both_are_sums(additive: SearchSpace, seed: int) -> None:
    """The greedy rule gives the corners of the front, here of all 72 networks; from the most probable one on."""
    distribution = leaning(additive, seed)
    logarithms = log_p(distribution)
    networks = raw_codes(additive)
    scores = np.array([sum(logarithms[column][option] for column, option in enumerate(row)) for row in networks])
    costs = additive_cost(np.array(networks))
    path = slim(distribution, additive_cost, 4.5)
    best = networks[int(scores.argmax())]
    below = [row for row in path if additive_cost(row[None])[0] <= additive_cost(np.array([best]))[0]]
    assert tuple(below[0]) == best
    for row in below:
        cost = additive_cost(row[None])[0]
        assert scores[networks.index(tuple(row))] == pytest.approx(scores[costs <= cost].max())


def test_the_importance_is_that_of_the_most_probable_codes_of_a_network() -> None:
    """A network has as many codes as its choices without effect have options."""
    space = search_spaces.get(
        "convnet", resolutions=(6,), in_channels=1, stem=8, widths=((8, 16),), strides=(1,), depths=((1, 2),),
        blocks=("mbconv", "fused"), kernels=(3,), expansions=(2, 3), head=16,
    )  # fmt: skip
    distribution = leaning(space, 0)
    logarithms, found = log_p(distribution), {}
    for row in raw_codes(space):
        network = tuple(space.canonical(np.array([row]))[0].tolist())
        score = sum(logarithms[column][option] for column, option in enumerate(row))
        found[network] = max(score, found.get(network, -math.inf))
    assert len(found) == space.size < len(raw_codes(space))
    expected = np.array(list(found.values())) - max(found.values())
    np.testing.assert_allclose(importance(distribution, np.array(list(found))), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [("convnet", {}), ("mobilenetv3", {"resolutions": [64, 96]}), ("nasbench201", {}), ("fbnet", {})],
)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.0])
def test_costs_fall_by_one_change_at_a_time_to_the_limit(name: str, options: dict[str, Any], share: float) -> None:
    space = search_spaces.get(name, **options)

    def cost(codes: Codes) -> NDArray[np.float64]:
        return space.macs(codes) / 1e6

    smallest, largest = cost(space.codes([space.smallest(), space.largest()]))
    limit = smallest + share * (largest - smallest)
    path = slim(leaning(space, 1), cost, limit)
    np.testing.assert_array_equal(space.canonical(path), path)
    costs = cost(path)
    assert (np.diff(costs) < 0).all()
    assert costs[-1] <= limit
    assert (costs[:-1] > limit).all()
    active = space.active(path)
    lasting = active[:-1] & active[1:]
    assert ((path[:-1] != path[1:]) & lasting).sum(axis=1).tolist() == [1] * (len(path) - 1)


@pytest.fixture
def kinds() -> SearchSpace:
    """A block of three kinds, of which one has a width."""
    kind = Choice("kind", ("skip", "wide", "other"), ordered=False)
    return SearchSpace("toy", (kind, Choice("width", (1, 2, 3), ("kind", ("wide",)))), ())


def kinds_cost(codes: Codes) -> NDArray[np.float64]:
    return np.choose(codes[:, 0], [np.zeros(len(codes)), 3.0 + codes[:, 1], np.full(len(codes), 9.0)]) + 1.0


def test_what_a_change_brings_into_effect_begins_at_its_largest(kinds: SearchSpace) -> None:
    distribution = Distribution(kinds)
    distribution.logits[0].data = torch.tensor([-9.0, 0.0, 1.0])
    distribution.logits[1].data = torch.tensor([0.0, 1.5, 2.0])
    assert slim(distribution, kinds_cost, 1.0).tolist() == [[2, 0], [1, 2], [1, 1], [1, 0], [0, 0]]


def test_kinds_begin_with_the_most_probable_one(kinds: SearchSpace) -> None:
    distribution = Distribution(kinds)
    distribution.logits[0].data = torch.tensor([-9.0, 1.0, 0.0])
    distribution.logits[1].data = torch.tensor([0.0, 1.5, 2.0])
    assert slim(distribution, kinds_cost, 5.0).tolist() == [[1, 2], [1, 1]]
    assert slim(distribution, kinds_cost, 9.0).tolist() == [[1, 2]]  # it keeps the limit already


def test_where_no_change_saves_the_smallest_network_is_left() -> None:
    space = SearchSpace("toy", (Choice("a", (0, 1)), Choice("b", (0, 1))), ())
    costs = np.array([[1.0, 6.0], [6.0, 5.0]])
    assert slim(Distribution(space), lambda codes: costs[codes[:, 0], codes[:, 1]], 2.0).tolist() == [[1, 1], [0, 0]]


def test_what_rounding_saves_is_not_saved(additive: SearchSpace) -> None:
    """A predictor may give one network costs that differ in the last bits, by what it is asked about beside it."""
    rng = np.random.default_rng(0)
    path = slim(leaning(additive, 2), lambda codes: additive_cost(codes) + 1e-13 * rng.random(len(codes)), 5.0)
    assert path.tolist() == slim(leaning(additive, 2), additive_cost, 5.0).tolist()


def test_a_limit_that_no_network_keeps_raises(additive: SearchSpace) -> None:
    with pytest.raises(ValueError, match=r"limit is 4.4, but the smallest network of the space has 4.5; give more"):
        slim(Distribution(additive), additive_cost, 4.4)
    assert additive_cost(slim(Distribution(additive), additive_cost, 4.5)[-1:])[0] == 4.5


def bound(space: SearchSpace, cost: Cost, seed: int = 0, **options: Any) -> EfficientFormer:
    """A strategy with the probabilities of `leaning`."""
    strategy = EfficientFormer(**options)
    strategy.bind({"latency_ms.device": cost}, space)
    for logits, wanted in zip(strategy.distribution(space).logits, leaning(space, seed).logits, strict=True):
        logits.data.copy_(wanted.data)
    return strategy


@pytest.mark.parametrize(("limit", "reached"), [(None, 8.5), (7.0, 7.0), (4.5, 4.5)])  # the largest network has 17
def test_the_slimmed_network_is_chosen_before_those_on_the_way(
    additive: SearchSpace, limit: float | None, reached: float
) -> None:
    path = slim(leaning(additive, 0), additive_cost, reached).tolist()
    assert bound(additive, additive_cost, limit=limit, networks=1).chosen(additive).tolist() == path[-1:]
    assert bound(additive, additive_cost, limit=limit, networks=100).chosen(additive).tolist() == path[::-1]
    assert bound(additive, additive_cost, limit=limit, networks=2).chosen(additive).tolist() == [path[-1], path[0]]


def test_chosen_networks_are_at_even_distances() -> None:
    space = SearchSpace("toy", (Choice("a", tuple(range(101))),), ())
    strategy = bound(space, lambda codes: 1.0 + codes[:, 0], limit=1.0, networks=5)
    strategy.distribution(space).logits[0].data = -0.01 * torch.arange(100.0, -1.0, -1.0) ** 2
    assert strategy.chosen(space)[:, 0].tolist() == [0, 25, 50, 75, 100]


def test_half_of_the_largest_is_no_limit_where_the_smallest_has_more() -> None:
    space = SearchSpace("toy", (Choice("a", (0, 1)),), ())
    assert bound(space, lambda codes: 10.0 + codes[:, 0]).chosen(space).tolist() == [[0], [1]]


def test_a_limit_that_cannot_be_kept_is_said_before_training(additive: SearchSpace) -> None:
    with pytest.raises(ValueError, match=r"limit is 0.001, but the smallest network of the space has 4.5"):
        EfficientFormer(limit=0.001).bind({"latency_ms.device": additive_cost}, additive)


def test_nothing_is_chosen_without_costs(additive: SearchSpace) -> None:
    with pytest.raises(RuntimeError, match="needs `bind`"):
        EfficientFormer().chosen(additive)


def test_probabilities_are_trained_for_accuracy_alone() -> None:
    """Their gradients are the same whatever networks cost."""
    space = search_spaces.get(
        "convnet", resolutions=(6,), in_channels=1, stem=8, widths=((8, 16),), strides=(1,), depths=((1, 2),),
        blocks=("mbconv", "fused"), kernels=(3,), expansions=(2, 3), head=16,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    images, target = torch.randn(20, 1, 6, 6, generator=generator), torch.randint(10, (20,), generator=generator)
    found = []
    for factor in (1.0, -1000.0):
        strategy = bound(space, lambda codes, factor=factor: factor * space.macs(codes), warmup_share=0.0)  # type: ignore[misc]
        strategy.step(scrambled(space), images, target, Step(0, 10, np.random.default_rng(0), F.cross_entropy))
        found.append([logits.grad for logits in strategy.parameters()])
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in found[0])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
