"""Once-for-all's own supernets, from its package."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_NETWORKS = "ofa.imagenet_classification.elastic_nn.networks"
_COUNTERS = "ofa.nas.efficiency_predictor.latency_lookup_table"


class _StandIn(ModuleType):
    """In place of torchvision, whose data loading the networks do not need."""

    __path__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@cache
def module(name: str) -> Any:
    """A module of the package, which imports torchvision all over."""
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets")
    stand_ins = {path: _StandIn(path) for path in names if path not in sys.modules}
    for path, stand_in in stand_ins.items():
        parent, _, attribute = path.rpartition(".")
        if parent in stand_ins:
            setattr(stand_ins[parent], attribute, stand_in)
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module(name)
    finally:
        for path in stand_ins:
            del sys.modules[path]


def network(kind: str, **options: Any) -> Any:
    """A supernet such as `OFAMobileNetV3` in evaluation mode, with weights and statistics that are random throughout.

    The statistics are near those of real activations, so that signals neither vanish nor explode.
    """
    torch.manual_seed(0)
    net = getattr(module(_NETWORKS), kind)(dropout_rate=0, **options)
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for part in norms:
            part.weight.uniform_(0.7, 1.3)
            part.bias.normal_(0, 0.2)
            part.momentum = None  # the average over all batches
        for name, parameter in net.named_parameters():
            if name.endswith("_matrix"):
                parameter.add_(0.1 * torch.randn_like(parameter))
        net.train()
        for _ in range(3):
            net(images(16, 64))
        for part in norms:
            part.momentum = 0.1
            part.running_mean.add_(0.3 * part.running_var.sqrt() * torch.randn_like(part.running_mean))
            part.running_var.mul_(0.5 + torch.rand_like(part.running_var))
    return net.eval()


def images(count: int, size: int) -> Tensor:
    """Random ones of different contrast."""
    return torch.randn(count, 3, size, size) * torch.linspace(0.3, 3, count)[:, None, None, None]


def macs(counter: str, net: Any, resolution: int) -> int:
    """Of the active subnet, counted by the package from its description."""
    count = getattr(module(_COUNTERS), counter).count_flops_given_config
    return round(1e6 * count(net.get_active_net_config(), resolution))
