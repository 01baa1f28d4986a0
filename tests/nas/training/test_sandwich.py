"""The sandwich rule against losses summed by hand on extracted networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from digits_training import small_space
from torch import Tensor, nn
from torch.nn import functional as F

from nas.tasks import ImageClassification
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategy import Step
from search_spaces import Architecture, SearchSpace
from search_spaces.supernet import Supernet


@pytest.fixture(scope="module")
def prefixes() -> SearchSpace:
    """Without groups and elastic kernels, so that the weights of a smaller network are the first ones of the supernet."""
    return small_space(
        blocks=["mbconv", "fused"], kernels=[3], widths=[[12, 16], [16, 24]], strides=[1, 2], depths=[[1, 2], [1]]
    )


@pytest.fixture(scope="module")
def batch(task: ImageClassification) -> tuple[Tensor, Tensor]:
    return next(task.train_batches(64, torch.Generator().manual_seed(0)))


def parameters_of(network: nn.Sequential) -> dict[str, nn.Parameter]:
    """By the names that they have in the supernet."""
    return {
        f"slots.{slot}.{type(module).__name__.lower()}.{name}": parameter
        for slot, module in network.named_children()
        for name, parameter in module.named_parameters()
    }


def add_gradients(total: dict[str, Tensor], network: nn.Sequential) -> None:
    for name, parameter in parameters_of(network).items():
        assert parameter.grad is not None
        total[name][tuple(slice(size) for size in parameter.shape)] += parameter.grad


def by_hand(
    supernet: Supernet, paths: list[Architecture], images: Tensor, target: Tensor, smoothing: float, balance: bool
) -> tuple[dict[str, Tensor], list[float]]:
    """Gradients in the shape of the supernet's parameters, and the losses, of plain static networks."""
    total = {name: torch.zeros_like(parameter) for name, parameter in supernet.named_parameters()}
    largest, *others = [supernet.extract(path).train() for path in paths]
    logits = largest(images)
    log_probabilities = logits.log_softmax(1)
    hits = log_probabilities[torch.arange(len(target)), target].mean()
    loss = -(1 - smoothing) * hits - smoothing * log_probabilities.mean()
    loss.backward()
    add_gradients(total, largest)
    losses = [loss.item()]
    teacher = logits.detach().softmax(1)
    for network in others:
        distillation = -(teacher * network(images).log_softmax(1)).sum(1).mean()
        losses.append(distillation.item())
        (distillation * (losses[0] / losses[-1]) if balance else distillation).backward()
        add_gradients(total, network)
    return total, losses


@pytest.mark.parametrize(
    ("random_paths", "smoothing", "balance"), [(0, 0.0, False), (1, 0.1, False), (3, 0.0, False), (2, 0.0, True)]
)
def test_gradients_are_the_sum_by_hand(
    prefixes: SearchSpace, batch: tuple[Tensor, Tensor], random_paths: int, smoothing: float, balance: bool
) -> None:
    torch.manual_seed(0)
    supernet = prefixes.build_supernet().train()
    drawn = prefixes.architectures(prefixes.random_codes(random_paths, np.random.default_rng(7)))
    paths = [prefixes.largest(), prefixes.smallest(), *drawn]
    expected, losses = by_hand(supernet, paths, *batch, smoothing, balance)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=smoothing)

    found = Sandwich(random_paths, balance=balance).step(supernet, *batch, Step(0, 1, np.random.default_rng(7), loss))
    names = ["largest", "smallest", *(f"random{i + 1}" for i in range(random_paths))]
    assert list(found) == names
    np.testing.assert_allclose(list(found.values()), losses, rtol=1e-5)
    for name, parameter in supernet.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


def test_gradient_is_the_slope_for_groups_and_kernels(space: SearchSpace, batch: tuple[Tensor, Tensor]) -> None:
    """Central differences along random directions, through networks that are extracted anew; the step is so small
    that few units cross zero."""
    torch.manual_seed(0)
    supernet = space.build_supernet().train()
    images, target = batch
    paths = [space.largest(), space.smallest(), *space.architectures(space.random_codes(4, np.random.default_rng(3)))]
    with torch.no_grad():
        teacher = supernet.extract(paths[0]).train()(images).softmax(1)
    Sandwich(4).step(supernet, images, target, Step(0, 1, np.random.default_rng(3), F.cross_entropy))
    gradients = {n: p.grad.double() for n, p in supernet.named_parameters() if p.grad is not None}
    supernet.double()

    @torch.no_grad()
    def total() -> float:
        networks = [supernet.extract(path).train().double() for path in paths]
        first = F.cross_entropy(networks[0](images.double()), target)
        return float(first + sum(F.cross_entropy(n(images.double()), teacher.double()) for n in networks[1:]))

    parameters = dict(supernet.named_parameters())
    generator = torch.Generator().manual_seed(0)
    for part in ("kernel_matrices", "groupedmbconv", "fusedmbconv", ""):
        direction = {
            name: torch.randn(gradient.shape, generator=generator, dtype=torch.double)
            for name, gradient in gradients.items()
            if part in name
        }
        expected = sum(float((gradients[name] * d).sum()) for name, d in direction.items())
        values = []
        for step in (1e-7, -1e-7):
            with torch.no_grad():
                for name, d in direction.items():
                    parameters[name].add_(step * d)
                values.append(total())
                for name, d in direction.items():
                    parameters[name].sub_(step * d)
        assert direction
        assert (values[0] - values[1]) / 2e-7 == pytest.approx(expected, rel=1e-3)
