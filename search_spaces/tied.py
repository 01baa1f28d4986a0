"""A linear map whose weight is that of another layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

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
        self.read(weight)

    def read(self, weight: Tensor) -> None:
        """Read this tensor from now on, whatever it is; assigned to the attribute, a parameter would become one of this
        layer."""
        self._buffers["weight"] = weight

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


@contextmanager
def untied(network: nn.Module) -> Iterator[None]:
    """Let tied layers read tensors of their own with the same values: torch exports no buffer that is a parameter."""
    layers = [layer for layer in network.modules() if isinstance(layer, TiedLinear)]
    weights = [layer.weight for layer in layers]
    for layer in layers:
        layer.read(layer.weight.detach())
    try:
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.read(weight)


def _layers(modules: Mapping[str, Iterable[nn.Module]], name: str) -> list[nn.Module]:
    slot, _, rest = name.partition(".")
    return [module.get_submodule(rest) for module in modules.get(slot, ())]
