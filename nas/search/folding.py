"""A faster copy of a network for inference: batch normalisation folded into convolutions, layout for CPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def fold(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `network` that computes the same with fewer passes over memory.

    A batch normalisation that alone reads a convolution becomes part of that convolution's weights (Jacob et al.,
    CVPR 2018, section 3.2); an activation that alone reads the result of either works in place; the layout is channels
    last, which is the fastest one of oneDNN for depthwise convolutions. Who reads what is observed while the copy runs
    on `example`; whatever does not match stays as it is.

    Args:
        network: in evaluation mode; which of its layers run must not depend on the values of its input.
        example: a batch of inputs; one is enough.

    Raises:
        ValueError: when the network is in training mode.
    """
    if network.training:
        raise ValueError("a network is folded in evaluation mode; call eval() on it first")
    network = deepcopy(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    observed = _Observed(network, example)
    folded = set()
    for conv, norm in observed.pairs():
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        folded.add(norm)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, nn.Identity())
    for activation in observed.sole_readers():
        activation.inplace = True
    return network


class _Observed:
    """What layers read and gave in a run of a network, and how often each tensor was read by any operator."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.calls: list[tuple[nn.Module, Tensor, Tensor]] = []
        layers = [module for module in network.modules() if type(module) in _NORMALISED or hasattr(module, "inplace")]
        handles = [layer.register_forward_hook(self._note) for layer in layers]
        try:
            with torch.no_grad(), _Reads() as reads:
                outputs = network(example)
        finally:
            for handle in handles:
                handle.remove()
        self.reads = reads.count
        self.reads.update(id(output) for output in tree_leaves(outputs))
        self.kept = reads.kept
        self.times = Counter(layer for layer, _, _ in self.calls)

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.calls.append((layer, inputs[0], output))

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Convolutions and the batch normalisations that alone read them; each of the two ran once."""
        convs = {id(output): layer for layer, _, output in self.calls if type(layer) is nn.Conv2d}
        return [
            (convs[id(source)], norm)
            for norm, source, _ in self.calls
            if type(norm) is nn.BatchNorm2d
            and norm.running_mean is not None
            and id(source) in convs
            and self.reads[id(source)] == 1
            and self.times[norm] == self.times[convs[id(source)]] == 1
        ]

    def sole_readers(self) -> list[Any]:
        """Activations that are, each time they run, alone in reading the result of one of the observed layers."""
        made = {id(output) for layer, _, output in self.calls if type(layer) in _NORMALISED}
        activations = {layer: True for layer, _, _ in self.calls if type(layer) not in _NORMALISED}
        for layer, source, _ in self.calls:
            if layer in activations:
                activations[layer] &= id(source) in made and self.reads[id(source)] == 1
        return [layer for layer, alone in activations.items() if alone]


_NORMALISED = (nn.Conv2d, nn.BatchNorm2d)


class _Reads(TorchDispatchMode):
    """Counts by how many operators each tensor is read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        # Keeps every tensor alive: a freed one would pass its id on to another.
        self.kept: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.count.update(map(id, read))
        self.kept += [read, output]
        return output
