"""The contract of a strategy of training: what it does depends on the step and on its state alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import search_spaces
from nas.testing.spaces import scrambled
from nas.training.strategy import Step, Strategy
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet

Batch = tuple[Tensor, Tensor]
Make = Callable[[], Strategy[Supernet]]
Moment = tuple[int, Strategy[Supernet], Supernet]


class StrategyContract:
    """Subclass it as `TestMyStrategy` and override the class-scoped fixture `make`; `space` may be overridden, too.

    Attributes:
        total: steps of the whole training that the tests look into.
        looked_at: those of them that the tests look at.
    """

    total: int = 10
    looked_at: tuple[int, ...] = (0, 4, 8)

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls) -> Make:
        """Makes new strategies, all alike."""
        raise NotImplementedError("a subclass of StrategyContract overrides the fixture `make`")

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "convnet", resolutions=(4, 6), in_channels=1, stem=8, widths=((8, 16),), strides=(1,), depths=((1, 2),),
            blocks=("mbconv", "grouped"), expansions=(2, 3), group_width=4, head=16,
        )  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, space: SearchSpace) -> Supernet:
        """In training mode; tests must not change it."""
        return scrambled(space).train()

    @pytest.fixture(scope="class")
    @classmethod
    def batch(cls) -> Batch:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(8, 1, 6, 6, generator=generator), torch.randint(10, (8,), generator=generator)

    @pytest.fixture(scope="class")
    @classmethod
    def moments(cls, make: Make, trained: Supernet, batch: Batch) -> list[Moment]:
        """Before each step that is looked at: its number, the strategy and the supernet; tests use a `copy`."""
        strategy, supernet, done, found = make(), copy(trained), 0, []
        for number in cls.looked_at:
            cls.run(strategy, supernet, batch, done, number)
            done = number
            found.append((number, deepcopy(strategy), copy(supernet)))
        return found

    @classmethod
    def step(cls, number: int) -> Step:
        """A step of this number, always the same."""
        return Step(number, cls.total, np.random.default_rng([5, number]), F.cross_entropy)

    @classmethod
    def run(cls, strategy: Strategy[Supernet], supernet: Supernet, batch: Batch, first: int, last: int) -> None:
        """Train from step `first` to before step `last`, by plain gradient descent."""
        for number in range(first, last):
            strategy.prepare(supernet, cls.step(number))
            supernet.zero_grad()
            losses = strategy.step(supernet, *batch, cls.step(number))
            strategy.observe(supernet, losses)
            with torch.no_grad():
                for parameter in supernet.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(1e-3 * parameter.grad)

    @classmethod
    def gradients(
        cls, strategy: Strategy[Supernet], supernet: Supernet, batch: Batch, number: int
    ) -> dict[str, Tensor]:
        """Of one step, by the names of the parameters that have some."""
        supernet.zero_grad()
        strategy.prepare(supernet, cls.step(number))
        strategy.step(supernet, *batch, cls.step(number))
        return gradients_of(supernet)

    # ------------------------------------------------------------------- a step

    def test_only_networks_of_the_space_are_trained(self, moments: list[Moment], batch: Batch) -> None:
        for number, strategy, supernet in map(copied, moments):
            space, activated = supernet.space, activations(supernet)
            losses = strategy.step(supernet, *batch, self.step(number))
            assert activated
            assert space.architectures(space.codes(activated)) == activated
            assert len(losses) <= len(activated)

    def test_losses_and_gradients_are_finite(self, moments: list[Moment], batch: Batch) -> None:
        for number, strategy, supernet in map(copied, moments):
            losses = strategy.step(supernet, *batch, self.step(number))
            assert losses
            assert all(type(value) is float and math.isfinite(value) for value in losses.values())
            found = gradients_of(supernet)
            assert any(gradient.any() for gradient in found.values())
            assert all(gradient.isfinite().all() for gradient in found.values())
            assert supernet.training

    def test_gradients_are_added(self, moments: list[Moment], batch: Batch) -> None:
        for number, strategy, supernet in map(copied, moments):
            once = self.gradients(strategy, supernet, batch, number)
            strategy.step(supernet, *batch, self.step(number))
            for name, gradient in gradients_of(supernet).items():
                torch.testing.assert_close(gradient, 2 * once[name])

    def test_a_step_without_gradient_descent_keeps_the_weights(self, moments: list[Moment], batch: Batch) -> None:
        for number, strategy, supernet in map(copied, moments):
            before = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
            strategy.step(supernet, *batch, self.step(number))
            assert all(torch.equal(parameter, before[name]) for name, parameter in supernet.named_parameters())

    def test_soft_targets(self, moments: list[Moment], batch: Batch) -> None:
        """Probabilities that are all on one class are the same as its index."""
        images, target = batch
        for number, strategy, supernet in map(copied, moments):
            other = deepcopy(strategy)
            expected = self.gradients(strategy, copy(supernet), batch, number)
            found = self.gradients(other, supernet, (images, F.one_hot(target, 10).float()), number)
            assert found.keys() == expected.keys()
            for name in found:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5)

    def test_a_space_of_one_architecture(self, make: Make, batch: Batch) -> None:
        only = search_spaces.get(
            "convnet", resolutions=(6,), in_channels=1, stem=8, widths=((8,),), strides=(1,), depths=((1,),),
            blocks=("mbconv",), kernels=(3,), expansions=(2,), head=16,
        )  # fmt: skip
        assert only.size == 1
        strategy, supernet = make(), scrambled(only).train()
        self.run(strategy, supernet, batch, 0, self.total)
        assert gradients_of(supernet)

    def test_chosen_networks_are_different_ones_of_the_space(self, moments: list[Moment]) -> None:
        for _, strategy, supernet in map(copied, moments):
            chosen = strategy.chosen(supernet.space)
            if chosen is not None:
                np.testing.assert_array_equal(supernet.space.canonical(chosen), chosen)
                assert len(np.unique(chosen, axis=0)) == len(chosen) >= 1

    # ------------------------------------------------------------ repeatability

    def test_the_same_step_has_the_same_gradients(self, moments: list[Moment], batch: Batch) -> None:
        for number, strategy, supernet in map(copied, moments):
            other = deepcopy(strategy)
            expected = self.gradients(strategy, copy(supernet), batch, number)
            torch.manual_seed(99)
            assert_equal(self.gradients(other, supernet, batch, number), expected)

    def test_all_chance_comes_from_the_step(self, make: Make, trained: Supernet, batch: Batch) -> None:
        strategy, supernet, before = make(), copy(trained), torch.get_rng_state()
        self.run(strategy, supernet, batch, 0, self.total)
        assert torch.equal(torch.get_rng_state(), before)

    def test_state_goes_through_a_checkpoint(self, make: Make, moments: list[Moment], batch: Batch) -> None:
        """A strategy that takes back the state before any step goes on as the one that was not interrupted."""
        for number, strategy, supernet in map(copied, moments):
            buffer = io.BytesIO()
            torch.save(strategy.state(), buffer)
            buffer.seek(0)
            resumed, network = make(), copy(supernet)
            resumed.restore(torch.load(buffer, weights_only=True))
            for following in range(number, min(number + 2, self.total)):
                expected = self.gradients(strategy, supernet, batch, following)
                assert_equal(self.gradients(resumed, network, batch, following), expected)
                self.run(strategy, supernet, batch, following, following + 1)
                self.run(resumed, network, batch, following, following + 1)

    def test_processes_draw_the_same_networks(self, make: Make, trained: Supernet, batch: Batch) -> None:
        """Each sees a part of the batch, so that its own losses differ; it is told the means over all."""
        ranks = [(make(), copy(trained)) for _ in range(2)]
        spies = [activations(supernet) for _, supernet in ranks]
        for number in range(self.total):
            found: list[dict[str, Any]] = []
            for rank, (strategy, supernet) in enumerate(ranks):
                strategy.prepare(supernet, self.step(number))
                found.append(strategy.step(supernet, batch[0][rank::2], batch[1][rank::2], self.step(number)))
            for both in zip(*(strategy.parameters() for strategy, _ in ranks), strict=True):
                gradients = [parameter.grad for parameter in both if parameter.grad is not None]
                mean = torch.stack(gradients).mean(0) if gradients else None
                for parameter in both:
                    parameter.grad = None if mean is None else mean.clone()
            means = {name: (value + found[1][name]) / 2 for name, value in found[0].items()}
            for strategy, supernet in ranks:
                strategy.observe(supernet, means)
        assert spies[0] == spies[1]

    # ----------------------------------------------------------------- movement

    def test_what_was_moved_is_told(self, make: Make, trained: Supernet, batch: Batch) -> None:
        """A copy of all tensors that follows what `prepare` says stays a copy."""
        strategy, supernet = make(), copy(trained)
        for number in range(self.total):
            copies = {id(tensor): tensor.clone() for tensor in tensors_of(supernet)}
            for reordering in strategy.prepare(supernet, self.step(number)):
                reordering.apply(copies[id(reordering.tensor)])
            assert all(torch.equal(tensor, copies[id(tensor)]) for tensor in tensors_of(supernet))
            self.run(strategy, supernet, batch, number, number + 1)


def copy(supernet: Supernet) -> Supernet:
    """A copy of its weights; the space, which never changes, stays the same one."""
    return deepcopy(supernet, {id(supernet.space): supernet.space})


def copied(moment: Moment) -> Moment:
    """To be changed by a test."""
    number, strategy, supernet = moment
    return number, deepcopy(strategy), copy(supernet)


def activations(supernet: Supernet) -> list[Architecture]:
    """A list that grows with what is activated from now on."""
    seen: list[Architecture] = []
    activate = supernet.activate

    def spy(architecture: Architecture) -> None:
        seen.append(architecture)
        activate(architecture)

    supernet.activate = spy  # type: ignore[method-assign]
    return seen


def tensors_of(supernet: Supernet) -> list[Tensor]:
    """Parameters and buffers."""
    return [*supernet.parameters(), *supernet.buffers()]


def gradients_of(supernet: Supernet) -> dict[str, Tensor]:
    """Copies of the gradients that there are."""
    return {name: p.grad.clone() for name, p in supernet.named_parameters() if p.grad is not None}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To the last bit."""
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]), name
