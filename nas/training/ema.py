"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a network's parameters over the last steps (Polyak and Juditsky, 1992).

    Only parameters are averaged. The running statistics of batch normalisation in a supernet are a mixture over all of
    its networks and serve none of them: each network that is evaluated gets its own by recalibration, under the
    averaged weights.

    Args:
        network: its parameters now are the first average.
        decay: of the average at each step; in the first steps less, as in (1 + step) / (10 + step), so that the
            beginning is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move towards the parameters of `network`, after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters: list[Tensor] = [parameter.detach() for _, parameter in network.named_parameters()]
        torch._foreach_lerp_(list(self.tensors.values()), parameters, 1 - decay)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Give `network` the averaged parameters."""
        for name, parameter in network.named_parameters():
            parameter.copy_(self.tensors[name])

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back the average that a checkpoint kept; `KeyError` when it is of another network."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
