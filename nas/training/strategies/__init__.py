"""The strategies of training a supernet, one a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nas.config import TrainingConfig
from nas.errors import UsageError
from nas.options import check_name, check_options
from nas.training.mixer_distillation import Lessons
from nas.training.strategies.attentive import Attentive
from nas.training.strategies.efficientformer import EfficientFormer
from nas.training.strategies.fbnet import FBNet
from nas.training.strategies.largest_first import LargestFirst
from nas.training.strategies.mixers_first import MixersFirst
from nas.training.strategies.progressive_shrinking import ProgressiveShrinking
from nas.training.strategies.proxylessnas import ProxylessNAS
from nas.training.strategies.sandwich import Sandwich
from nas.training.strategies.single_path import SinglePath
from nas.training.strategy import Strategy
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet, uses_all_weights

STRATEGIES: Mapping[str, Callable[..., Strategy[Supernet]]] = MappingProxyType(
    {
        "sandwich": Sandwich,
        "single_path": SinglePath,
        "attentive": Attentive,
        "progressive_shrinking": ProgressiveShrinking,
        "proxylessnas": ProxylessNAS,
        "fbnet": FBNet,
        "efficientformer": EfficientFormer,
    }
)

#: Share of the steps that the first phase on the largest network gets by default, where that network contains all of the
#: supernet's modules: the best one of those measured for the sandwich in experiments/cifar10, about half of the time.
#: Strategies that are not here have none, or one of their own.
LARGEST_SHARES: Mapping[str, float] = MappingProxyType({"sandwich": 0.6, "attentive": 0.6})


def largest_share(config: TrainingConfig, space: SearchSpace) -> float:
    """The share of the steps in which a training trains the largest network alone, before its strategy begins.

    By default there is no such phase where the supernet has modules that the largest network does not contain: they
    would lose the time that it takes.
    """
    if config.largest_share is not None:
        return config.largest_share
    return LARGEST_SHARES.get(config.strategy.name, 0.0) if uses_all_weights(space, space.largest()) else 0.0


def planned_strategy(config: TrainingConfig, space: SearchSpace, total_steps: int) -> Strategy[Supernet]:
    """The strategy of a training of `total_steps` in `space`, with the phases before it.

    Raises:
        UsageError: as `make_strategy` does; or when mixers are to learn from attention, and cannot in this space.
    """
    first = round(largest_share(config, space) * total_steps)
    strategy = make_strategy(config.strategy.name, config.strategy.options)
    if config.mixer_distillation_share:
        last = first + round(config.mixer_distillation_share * total_steps)
        strategy = MixersFirst(strategy, last, _lessons(config, space))
    return LargestFirst(strategy, first) if first else strategy


def _lessons(config: TrainingConfig, space: SearchSpace) -> Lessons:
    largest, share = largest_share(config, space), config.mixer_distillation_share
    if largest + share > 1:
        raise UsageError(
            f"training.mixer_distillation_share is {share:g}, which with a largest_share of {largest:g} is more than "
            "the whole training; lower one of them"
        )
    try:
        return Lessons(space)
    except ValueError as error:
        raise UsageError(f"training.mixer_distillation_share: {error}; set it to 0") from error


def make_strategy(name: str, options: Mapping[str, Any], largest_steps: int = 0) -> Strategy[Supernet]:
    """The strategy `name`, made with `options`.

    Args:
        largest_steps: optimiser steps of a first phase on the largest network alone.

    Raises:
        UsageError: when the strategy or an option is unknown, or an option is out of its range.
    """
    check_name("strategy", "training.strategy.name", name, STRATEGIES)
    try:
        strategy = STRATEGIES[name](**check_options(f"strategy {name!r}", STRATEGIES[name], options))
    except ValueError as error:
        raise UsageError(f"training.strategy.options of {name!r}: {error}") from error
    return LargestFirst(strategy, largest_steps) if largest_steps else strategy
