"""A linear map whose weight is that of another layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TiedLinear(nn.Module):
    """A linear map without bias that reads the weight of another layer, such as the table of an embedding.

    The weight is no parameter of this layer and not in its state dictionary, so whoever counts or saves parameters
    meets it once, where it belongs; gradients reach it from both. Before `tie` it is zero.

    Args:
        in_features: number of inputs.
        out_features: number of outputs.
    """

    weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features), persistent=False)

    def tie(self, weight: nn.Parameter) -> None:
        """Read this weight from now on.

        Raises:
            ValueError: when its shape is another one.
        """
        if weight.shape != (self.out_features, self.in_features):
            raise ValueError(f"{self} cannot read a weight of shape {tuple(weight.shape)}")
        self._buffers["weight"] = weight  # assigned to the attribute it would become a parameter

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


def tie(modules: Mapping[str, Iterable[nn.Module]], ties: Mapping[str, str]) -> None:
    """Tie layers of a network.

    Args:
        modules: for each slot the modules that it may be.
        ties: names of a `TiedLinear` and of the layer whose weight it reads, each of the slot, a dot, and the name in
            the slot.

    Raises:
        ValueError: when a layer is none that can be tied.
    """
    for reader, owner in ties.items():
        (source,) = _layers(modules, owner)
        weight = source.get_parameter("weight")
        for layer in _layers(modules, reader):
            if not isinstance(layer, TiedLinear):
                raise ValueError(f"only a TiedLinear reads the weight of another layer; {reader} is {layer}")
            layer.tie(weight)


def with_shared_parameters(network: nn.Module) -> nn.Module:
    """A copy of a network in which a tied layer has the very parameter of the layer that it reads.

    That is how exporters know ties: they take a buffer for a tensor that is no parameter.
    """
    copied = deepcopy(network)
    for layer in copied.modules():
        if isinstance(layer, TiedLinear):
            weight = layer.weight
            del layer.weight
            layer.register_parameter("weight", cast(nn.Parameter, weight))
    return copied


def _layers(modules: Mapping[str, Iterable[nn.Module]], name: str) -> list[nn.Module]:
    slot, _, rest = name.partition(".")
    return [module.get_submodule(rest) for module in modules.get(slot, ())]
