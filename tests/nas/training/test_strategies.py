"""Every strategy keeps the contract; what each one adds is compared with plain loops."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import OneHotEncoder
from torch import Tensor, nn
from torch.nn import functional as F

import search_spaces
from nas.config import TrainingConfig
from nas.errors import UsageError
from nas.testing.spaces import scrambled
from nas.testing.strategies import Make, StrategyContract, activations, gradients_of
from nas.training.loss_predictor import LossPredictor
from nas.training.strategies import STRATEGIES, make_strategy, planned_strategy
from nas.training.strategies.alone import Alone
from nas.training.strategies.attentive import AttentivePaths
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategies.progressive_shrinking import Phases, ProgressiveShrinking
from nas.training.strategy import Step, Strategy
from search_spaces import Choice, SearchSpace
from search_spaces.space import Codes
from search_spaces.supernet import Supernet

TRIED: list[tuple[str, dict[str, Any], int]] = [  # names, options, steps of the largest network alone
    ("sandwich", {"distillation": "alpha", "distillation_weight": 0.5}, 0),
    ("sandwich", {}, 3),
    ("sandwich", {"homogeneous_share": 0.5, "balance": True}, 0),
    ("single_path", {"random_paths": 2}, 0),
    ("single_path", {"random_paths": 2, "homogeneous_share": 0.5}, 0),
    ("attentive", {"mode": "worst"}, 0),
    ("progressive_shrinking", {}, 0),
    ("progressive_shrinking", {"order": [["nothing"], ["*_width"]], "shares": [3, 0, 7], "distillation": "alpha"}, 0),
    ("proxylessnas", {"warmup_share": 0.3, "cost": "positions"}, 0),
    ("proxylessnas", {"penalty": "added", "cost": "positions"}, 3),
    ("fbnet", {"warmup_share": 0.3, "cost": "positions"}, 0),
    ("efficientformer", {"warmup_share": 0.3, "cost": "positions"}, 0),
    ("efficientformer", {"cost": "positions", "limit": 2.0}, 3),
]
WRONG: dict[str, list[dict[str, Any]]] = {
    "sandwich": [{"random_paths": -1}, {"distillation": "hard"}, {"distillation_weight": 1.5}, {"random_paths": "a"}],
    "single_path": [{"random_paths": 0}, {"homogeneous_share": 1.5}],
    "attentive": [{"mode": "good"}, {"candidates": 0}, {"candidates": 1_000}, {"distillation_weight": -0.1}],
    "proxylessnas": [{"penalty": "huge"}, {"reference": 0.0}, {"warmup_share": 1.1}, {"learning_rate": 0.0}],
    "fbnet": [{"penalty": "huge"}, {"alpha": -1.0}, {"architecture_share": 0.6}, {"warmup_share": -0.1}],
    "efficientformer": [{"limit": 0.0}, {"networks": 0}, {"warmup_share": -0.1}, {"learning_rate": 0.0}],
    "progressive_shrinking": [
        {"random_paths": 0}, {"shares": [1, 1]}, {"shares": [0, 1, 1, 1]}, {"shares": [1, -1, 1, 1]},
        {"order": ["*_kernel"], "shares": [1, 1]}, {"distillation": "hard"}, {"shares": 4},
    ],
}  # fmt: skip


class TestStrategies(StrategyContract):
    @pytest.fixture(scope="class", params=TRIED, ids=str)
    @classmethod
    def make(cls, request: pytest.FixtureRequest, space: SearchSpace) -> Make:
        def made() -> Strategy[Supernet]:
            strategy = make_strategy(*request.param)
            if strategy.needs_costs:
                strategy.bind({"positions": lambda codes: 1.0 + codes.sum(axis=1)}, space)
            return strategy

        return made


def test_all_strategies_are_tried() -> None:
    assert {name for name, *_ in TRIED} == WRONG.keys() == STRATEGIES.keys()


@pytest.mark.parametrize(("name", "options"), [(name, wrong) for name, many in WRONG.items() for wrong in many])
def test_options_out_of_range_raise(name: str, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        STRATEGIES[name](**options)
    with pytest.raises(UsageError, match=rf"options of '{name}': "):
        make_strategy(name, options)


@pytest.mark.parametrize("name", STRATEGIES)
def test_unknown_options_raise(name: str) -> None:
    with pytest.raises(UsageError, match=r"no option 'random_path'"):
        make_strategy(name, {"random_path": 1})


def test_an_unknown_strategy_raises() -> None:
    with pytest.raises(UsageError, match=r"no strategy 'sandwhich' .did you mean 'sandwich'.*single_path"):
        make_strategy("sandwhich", {})


@pytest.mark.parametrize("name", ["attentive", "progressive_shrinking"])
def test_the_state_of_another_strategy_raises(name: str) -> None:
    with pytest.raises(KeyError):
        make_strategy(name, {}).restore(make_strategy("sandwich", {}).state())


def moment(number: int, total: int = 10, seed: int = 0) -> Step:
    return Step(number, total, np.random.default_rng(seed), F.cross_entropy)


def images_and_labels(n: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 8, 8, generator=generator), torch.randint(10, (n,), generator=generator)


def test_alone_with_a_teacher_by_hand() -> None:
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
    images, target = images_and_labels()
    found = Alone(teacher.eval(), 0.3).step(student, images, target, moment(0))
    gradients = [parameter.grad for parameter in student.parameters()]
    log_q, p = student(images).log_softmax(1), teacher(images).detach().softmax(1)
    loss = -0.7 * log_q[torch.arange(12), target].mean() - 0.3 * (p * log_q).sum(1).mean()
    assert found == {"network": pytest.approx(loss.item(), rel=1e-5)}
    for found_gradient, expected in zip(gradients, torch.autograd.grad(loss, list(student.parameters())), strict=True):
        torch.testing.assert_close(found_gradient, expected)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_alone_without_a_teacher_learns_the_labels() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    images, target = images_and_labels()
    found = Alone().step(network, images, target, moment(0))
    assert found["network"] == pytest.approx(F.cross_entropy(network(images), target).item())


class TestLossPredictor:
    @pytest.fixture
    def space(self) -> SearchSpace:
        choices = [Choice("a", (1, 2, 3)), Choice("b", (1, 2), ("a", (2, 3))), Choice("c", (1,)), Choice("d", (4, 5))]
        return SearchSpace("toy", tuple(choices), ())

    def test_equals_ridge_of_scikit_learn(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        codes, losses = space.random_codes(40, rng), rng.normal(3, 1, size=40)
        encoder = OneHotEncoder(categories=[np.arange(len(choice.options)) for choice in space.choices])
        weights = 0.9 ** np.arange(39, -1, -1.0)
        ridge = Ridge(alpha=0.7).fit(encoder.fit_transform(codes), losses, sample_weight=weights)
        predictor = LossPredictor(forgetting=0.9, penalty=0.7)
        for first, last in ((0, 1), (1, 1), (1, 4), (4, 40)):
            predictor.observe(space, codes[first:last], losses[first:last].tolist())
        unseen = space.random_codes(20, rng)
        np.testing.assert_allclose(predictor.predict(space, unseen), ridge.predict(encoder.transform(unseen)))

    def test_nothing_is_known_before_the_first_observation(self, space: SearchSpace) -> None:
        np.testing.assert_array_equal(
            LossPredictor().predict(space, space.random_codes(5, np.random.default_rng(0))), 0
        )


def additive_losses(space: SearchSpace, codes: Codes) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(42)
    effects = [rng.normal(size=len(choice.options)) for choice in space.choices]
    return 3 + sum((effect[codes[:, column]] for column, effect in enumerate(effects)), np.zeros(len(codes)))


class TestAttentive:
    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv3", resolutions=(128, 224), widths=(24, 40, 80), strides=(2, 2, 2),
            activations=("relu",) * 3, squeeze_excite=(False, True, False), head=96, features=0,
        )  # fmt: skip

    @staticmethod
    def uniformity(space: SearchSpace, codes: Codes) -> float:
        """Distance of Kolmogorov and Smirnov between the costs and a uniform distribution between the ends."""
        low, high = space.macs(space.codes([space.smallest(), space.largest()]))
        return float(kstest(space.macs(codes), "uniform", args=(low, high - low)).statistic)

    def test_costs_are_uniform(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        paths = AttentivePaths("none", 1)
        drawn = np.concatenate([paths.sample(space, 2, rng) for _ in range(150)])
        assert drawn.shape == (300, len(space.choices))
        assert self.uniformity(space, space.random_codes(300, rng)) > 0.3
        assert self.uniformity(space, drawn) < 0.1
        np.testing.assert_array_equal(space.canonical(drawn), drawn)

    def test_best_is_better_than_worst(self, space: SearchSpace) -> None:
        means = {}
        for mode in ("best", "none", "worst"):
            rng, paths = np.random.default_rng(0), AttentivePaths(mode)
            drawn = np.concatenate([self.draw_and_tell(space, paths, rng, 5.0 - 0.01 * i) for i in range(150)])
            assert self.uniformity(space, drawn[100:]) < 0.2
            means[mode] = additive_losses(space, drawn[100:]).mean()
        assert means["best"] + 1 < means["none"] < means["worst"] - 1

    @staticmethod
    def draw_and_tell(space: SearchSpace, paths: AttentivePaths, rng: np.random.Generator, level: float) -> Codes:
        """Two networks; their losses fall in training."""
        codes = paths.sample(space, 2, rng)
        paths.observe(space, codes, (level + additive_losses(space, codes)).tolist())
        return codes

    def test_it_learns_from_the_losses_of_all_processes(self) -> None:
        space = small()
        strategy, supernet = make_strategy("attentive", {"random_paths": 2}), scrambled(space).train()
        expected, seen = LossPredictor(), activations(supernet)
        for number in range(3):
            strategy.step(supernet, *images_and_labels(), moment(number, seed=number))
            codes, told = (
                space.codes(seen[-2:]),
                {"largest": 9.0, "smallest": 9.0, "random1": 1.0 + number, "random2": 5.0},
            )
            strategy.observe(supernet, told)
            expected.observe(space, codes, [1.0 + number, 5.0])
        for name, tensor in expected.state().items():
            torch.testing.assert_close(strategy.state()[name], tensor)


def small(**options: Any) -> SearchSpace:
    defaults: dict[str, Any] = {
        "resolutions": (6, 8), "blocks": ("mbconv", "grouped"), "in_channels": 1, "stem": 8, "widths": ((8, 16),), "strides": (1,), "depths": ((1, 2),),
        "expansions": (2, 3), "group_width": 4, "head": 16,
    }  # fmt: skip
    return search_spaces.get("convnet", **defaults | options)


ELASTIC = {  # in each phase of 10 steps with shares 0.4, 0.2, 0.2, 0.2
    **dict.fromkeys((4, 5), ("resolution", "_kind", "_kernel")),
    **dict.fromkeys((6, 7), ("resolution", "_kind", "_kernel", "_depth")),
    **dict.fromkeys((8, 9), ("resolution", "_kind", "_kernel", "_depth", "_expansion", "_width")),
}


class TestProgressiveShrinking:
    @pytest.mark.parametrize("number", ELASTIC)
    def test_only_choices_of_the_phase_vary(self, number: int) -> None:
        space = small()
        phases = ProgressiveShrinking().phases
        drawn = space.architectures(phases.draw(space, 5_000, moment(number)))
        allowed = {
            tuple(architecture.items)
            for architecture in every_architecture(space)
            if all(
                value == choice.options[-1] or choice.name.endswith(ELASTIC[number]) or not active
                for choice, value, active in zip(
                    space.choices,
                    architecture.values.values(),
                    space.active(space.codes([architecture]))[0],
                    strict=True,
                )
            )
        }
        found = {tuple(architecture.items) for architecture in drawn}
        assert found <= allowed
        assert len(found) > 0.9 * len(allowed)

    def test_options_are_equally_likely_where_their_choice_has_an_effect(self) -> None:
        space = small()
        codes = ProgressiveShrinking().phases.draw(space, 3_000, moment(4))
        for column, choice in enumerate(space.choices):
            if choice.name.endswith("_kernel"):
                kernels = codes[space.active(codes)[:, column], column]
                assert 0.45 < kernels.mean() < 0.55

    def test_phases_have_their_shares_of_the_steps(self) -> None:
        strategy, supernet = ProgressiveShrinking(random_paths=2, shares=[1, 2, 0, 2]), scrambled(small()).train()
        names = []
        for number in range(10):
            strategy.prepare(supernet, moment(number))
            names.append(list(strategy.step(supernet, *images_and_labels(), moment(number))))
        assert names == [["largest"]] * 2 + [["random1", "random2"]] * 8
        phases = strategy.phases
        assert phases.ends(10) == [2, 6, 6]
        assert phases.ends(1) == [1, 1, 1]

    @torch.no_grad()
    def test_sorting_keeps_the_largest_network(self) -> None:
        strategy, supernet = ProgressiveShrinking(), scrambled(small())
        images, _ = images_and_labels()
        before = supernet(images)
        weights = {name: parameter.clone() for name, parameter in supernet.named_parameters()}
        for number in range(10):
            moved = strategy.prepare(supernet, moment(number))
            assert bool(moved) == (number == 4)
        torch.testing.assert_close(supernet(images), before, rtol=1e-4, atol=1e-4)
        assert any(not torch.equal(parameter, weights[name]) for name, parameter in supernet.named_parameters())

    def test_momentum_stays_with_its_weights(self) -> None:
        """Each weight and its momentum are a pair before and after the channels are sorted."""
        strategy, supernet = ProgressiveShrinking(), scrambled(small()).train()
        momenta = {id(parameter): 7 * parameter.detach() + 1 for parameter in supernet.parameters()}
        moved = strategy.prepare(supernet, moment(4))
        for reordering in moved:
            if id(reordering.tensor) in momenta:
                reordering.apply(momenta[id(reordering.tensor)])
        for parameter in supernet.parameters():
            assert torch.equal(momenta[id(parameter)], 7 * parameter.detach() + 1)

    def test_loss_by_hand(self) -> None:
        """The teacher stays what the largest network was when the first phase ended, with statistics of the batch."""
        images, target = images_and_labels()
        strategy, supernet = ProgressiveShrinking(distillation_weight=0.3), scrambled(small()).train()
        strategy.prepare(supernet, moment(4))
        teacher = supernet.extract(supernet.space.largest()).train()
        p = teacher(images).detach().softmax(1)
        for number in (4, 9):
            strategy.prepare(supernet, moment(number))
            seen = activations(supernet)
            found = strategy.step(supernet, images, target, moment(number))
            gradients = gradients_of(supernet)
            supernet.zero_grad()
            supernet.activate(seen[-1])
            log_q = supernet(images).log_softmax(1)
            loss = -0.7 * log_q[torch.arange(12), target].mean() - 0.3 * (p * log_q).sum(1).mean()
            loss.backward()
            assert found == {"random1": pytest.approx(loss.item(), rel=1e-5)}
            for name, expected in gradients_of(supernet).items():
                torch.testing.assert_close(gradients[name], expected, rtol=1e-3, atol=1e-6)
            with torch.no_grad():
                for parameter in supernet.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            supernet.zero_grad()

    def test_the_teacher_sees_its_own_resolution(self) -> None:
        """Images of another size than the largest network's are resized for the teacher, too."""
        strategy, supernet = ProgressiveShrinking(distillation_weight=1.0), scrambled(small(resolutions=(8,))).train()
        large, target = torch.randn(12, 1, 16, 16), images_and_labels()[1]
        resized = F.interpolate(large, (8, 8), mode="bilinear", antialias=True)
        strategy.prepare(supernet, moment(4))
        found = [deepcopy(strategy).step(supernet, x, target, moment(4))["random1"] for x in (large, resized)]
        assert found[0] == pytest.approx(found[1], rel=1e-4)

    def test_order_without_phases_is_the_largest_alone(self) -> None:
        assert Phases((), (1.0,)).ends(10) == []
        strategy, supernet = ProgressiveShrinking(order=(), shares=(1.0,)), scrambled(small()).train()
        for number in (0, 9):
            assert not strategy.prepare(supernet, moment(number))
            assert list(strategy.step(supernet, *images_and_labels(), moment(number))) == ["largest"]

    def test_an_earlier_phase_of_the_largest_may_be_longer(self) -> None:
        """As with `largest_share`: the teacher is what the largest network was then."""
        strategy, supernet = LargestFirst(ProgressiveShrinking(), 7), scrambled(small()).train()
        for number in range(10):
            moved = strategy.prepare(supernet, moment(number))
            assert bool(moved) == (number == 7)
            losses = strategy.step(supernet, *images_and_labels(), moment(number))
            assert list(losses) == (["largest"] if number < 7 else ["random1"])


def every_architecture(space: SearchSpace) -> list[Any]:
    radices = [len(choice.options) for choice in space.choices]
    codes = np.unique(space.canonical(np.indices(radices).reshape(len(radices), -1).T.astype(np.int64)), axis=0)
    assert len(codes) == space.size
    return space.architectures(codes)


class TestFirstPhase:
    @pytest.mark.parametrize(
        ("blocks", "training", "steps"),
        [
            (["fused"], {}, 6),
            (["fused"], {"strategy": {"name": "attentive"}}, 6),
            (["fused"], {"strategy": {"name": "single_path"}}, 0),
            (["fused"], {"strategy": {"name": "progressive_shrinking"}}, 0),
            (["mbconv", "fused"], {}, 0),  # the first of the two would lose time
            (["mbconv", "fused"], {"largest_share": 0.3}, 3),
            (["fused"], {"largest_share": 0.0}, 0),
        ],
    )
    def test_its_length(self, blocks: list[str], training: dict[str, Any], steps: int) -> None:
        space = small(blocks=blocks)
        strategy = planned_strategy(TrainingConfig.model_validate(training), space, 10)
        assert (strategy.steps if isinstance(strategy, LargestFirst) else 0) == steps
