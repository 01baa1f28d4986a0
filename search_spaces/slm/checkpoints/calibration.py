"""Running the largest network of a supernet on a few sequences, to see what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.supernet import Supernet

#: Tokens and targets, both of shape (n, t); targets of -100 are not judged.
Batch = tuple[Tensor, Tensor]

IGNORED = -100


@contextmanager
def largest_of(supernet: Supernet) -> Iterator[dict[str, nn.Module]]:
    """The modules of the largest network by their slots, in running order; neither training nor with gradients."""
    training = supernet.training
    supernet.eval()
    supernet.activate(supernet.space.largest())
    variants = supernet.space.variants(supernet.space.largest())
    try:
        with torch.no_grad():
            yield {name: supernet.activate_slot(name, variant) for name, variant in variants.items()}
    finally:
        supernet.train(training)


def layer_of(slot: str) -> int | None:
    """The number of the layer that a slot is in, from 1; `None` outside of layers."""
    found = re.fullmatch(r"layer(\d+)_\w+", slot)
    return int(found[1]) if found else None


def mean_loss(modules: Iterable[nn.Module], batches: Iterable[Batch]) -> float:
    """Cross-entropy per judged token, in nats, of a network.

    Raises:
        ValueError: when no token is judged.
    """
    total, count = 0.0, 0
    for tokens, targets in batches:
        x = tokens
        for module in modules:
            x = module(x)
        total += float(
            F.cross_entropy(x.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        )
        count += int((targets != IGNORED).sum())
    if not count:
        raise ValueError("there is no token to judge in the batches for calibration")
    return total / count
