"""The sandwich rule on spaces whose supernets hold operations with weights of their own: nothing is trained in vain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import search_spaces
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategy import Step

SMALL: dict[str, dict[str, Any]] = {
    "nasbench201": {"resolution": 8, "width": 4, "cells": 1},
    "accel-nasbench": {"resolution": 8, "widths": (8, 16), "strides": (1, 2), "depths": ((1, 2), (1,)), "head": 16},
    "fbnet": {"resolution": 8, "widths": (8, 16), "strides": (1, 2), "depths": (1, 2), "head": 16},
    "mnasnet": {"resolutions": (8,), "filters": ((8,), (16,)), "strides": (1, 2), "depths": ((1, 2), (2,)), "head": 16},
    "proxylessnas": {
        "resolutions": (8,),
        "widths": {"one": (8, 8, 8, 16, 16)},
        "strides": (1, 2),
        "depths": (2, 2),
    },
}


def labelled_images() -> tuple[Tensor, Tensor]:
    """Two classes that differ in the brightness of one half."""
    generator = torch.Generator().manual_seed(0)
    images, target = torch.randn(32, 3, 8, 8, generator=generator), torch.arange(32) % 2
    images[target == 1, :, :4] += 2
    return images, target


@pytest.mark.parametrize("name", list(SMALL))
def test_training_lowers_the_loss_of_all_paths(name: str) -> None:
    torch.manual_seed(0)
    space = search_spaces.get(name, classes=2, **SMALL[name])
    supernet, strategy = space.build_supernet().train(), Sandwich(random_paths=2)
    images, target = labelled_images()
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for number in range(12):
        step = Step(number, 12, np.random.default_rng([1, number]), F.cross_entropy)
        losses.append(strategy.step(supernet, images, target, step))
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    assert losses[0].keys() == {"largest", "smallest", "random1", "random2"}
    assert all(np.isfinite(list(found.values())).all() for found in losses)
    first, last = (np.mean([found["largest"] for found in part]) for part in (losses[:3], losses[-3:]))
    assert last < 0.7 * first
