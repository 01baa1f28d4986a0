"""Recalibration of batch normalisation: every network taken from a supernet needs statistics of its own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch normalisation by their mean over `batches`.

    The weights stay as they are. The network ends in evaluation mode. Without batch normalisation no batch is read.
    (Yu and Huang, "Universally slimmable networks", ICCV 2019: without it a subnet's accuracy is near chance.)

    Args:
        network: a static network.
        batches: images, shape (n, channels, height, width), at the network's resolution.

    Raises:
        ValueError: when there is batch normalisation but no batch.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        network.eval()
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    # On CPUs this layout takes two thirds of the time.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = 0
    with torch.no_grad():
        for images in batches:
            network(images.contiguous(memory_format=torch.channels_last))
            seen += 1
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    if not seen:
        raise ValueError("recalibration of batch normalisation needs at least one batch of images")
