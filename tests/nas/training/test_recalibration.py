"""Recalibration of batch normalisation against its closed form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from digits_training import small_space
from torch import nn

from nas.training.recalibration import recalibrate


def test_statistics_are_means_over_the_batches() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.3)
    network = nn.Sequential(norm)
    nn.init.constant_(norm.running_mean, 100.0)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(n, 3, 4, 5), loc=n).astype(np.float32) for n in (6, 2, 9)]
    recalibrate(network, map(torch.from_numpy, batches))
    means = np.mean([batch.mean((0, 2, 3)) for batch in batches], axis=0)
    variances = np.mean([batch.var((0, 2, 3), ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(norm.running_mean, means, rtol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(norm.running_var, variances, rtol=1e-5)  # type: ignore[arg-type]
    assert norm.momentum == 0.3
    assert not network.training
    assert not norm.training


def test_again_is_the_same() -> None:
    network = small_space().build(small_space().largest())
    images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    recalibrate(network, images.split(20))
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recalibrate(network, images.split(20))
    assert all(torch.equal(tensor, first[name]) for name, tensor in network.state_dict().items())


def test_weights_stay_and_deep_layers_see_normalised_inputs() -> None:
    torch.manual_seed(0)
    first, second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    network = nn.Sequential(first, nn.ReLU(), second)
    weights = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    images = 5 + 3 * torch.randn(50, 2, 3, 3)
    recalibrate(network, [images])
    flat = images.transpose(0, 1).flatten(1)
    shown = ((flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0, keepdim=True) + first.eps).sqrt()).relu()
    torch.testing.assert_close(second.running_mean, shown.mean(1))
    torch.testing.assert_close(second.running_var, shown.var(1))
    assert all(torch.equal(parameter, weights[name]) for name, parameter in network.named_parameters())


def test_without_batches_it_raises() -> None:
    norm = nn.BatchNorm2d(3, momentum=0.2)
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate(nn.Sequential(norm), [])
    assert norm.momentum == 0.2
    assert not norm.training


def test_without_batch_normalisation_nothing_is_run() -> None:
    def never() -> Iterator[torch.Tensor]:
        raise AssertionError("no batch is needed")
        yield

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4))
    recalibrate(network, never())
    recalibrate(network, [])
    assert not network.training


def test_the_layout_of_the_weights_stays() -> None:
    network = small_space().build(small_space().largest())
    recalibrate(network, [torch.randn(4, 1, 8, 8)])
    assert all(tensor.is_contiguous() for tensor in network.state_dict().values())
