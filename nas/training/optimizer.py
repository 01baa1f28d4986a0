"""The optimiser and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nas.config import TrainingConfig
from nas.training.learning_rates import learning_rate_factors
from search_spaces.parameter import Parameter


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser of a configuration.

    Vectors (normalisation, biases), kernel matrices, and tensors that are learned by themselves (positions, class
    tokens) are not decayed. Each group of parameters has a `multiplier` of the learning rate, see `set_learning_rate`.

    Raises:
        UsageError: when the configuration has a learning rate for parameters that the network does not have.
    """
    factors = learning_rate_factors(network, config)
    alone = {id(module.weight) for module in network.modules() if isinstance(module, Parameter)}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {(False, 1.0): [], (True, 1.0): []}
    for name, parameter in network.named_parameters():
        is_free = parameter.dim() < 2 or "kernel_matrices" in name or id(parameter) in alone
        groups.setdefault((is_free, factors[name]), []).append(parameter)
    optimizer = _OPTIMIZERS[config.optimizer](
        [
            {"params": members, "weight_decay": 0.0 if is_free else config.weight_decay, "multiplier": factor}
            for (is_free, factor), members in groups.items()
        ],
        config,
    )
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of parameters the rate times its multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("multiplier", 1.0)  # none in the checkpoints of earlier releases


def _sgd(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)


def _adamw(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))


_OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], TrainingConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}


def learning_rate(step: int, peak: float, warmup: float, total: int) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter, ICLR 2017).

    Args:
        step: optimiser steps so far.
        peak: the highest rate.
        warmup: steps until then.
        total: steps of the whole training.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
