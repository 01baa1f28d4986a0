"""Learning rates of their own: by operator, by the name of a parameter, and by the width of a matrix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import nn

from nas.config import TrainingConfig
from nas.errors import UsageError
from search_spaces.elastic.linear import ElasticLinear

_CONTAINERS = (nn.Sequential, nn.ModuleDict, nn.ModuleList)


class NamedParameters:
    """The parameters of a network and the patterns that mean them.

    A pattern means a parameter

    * by an operator that it is in: the name of a module's class, whether or not it ends with `block`, such as `attention`,
      `gated_linear_attention`, `feed_forward` or `embedding`, without regard to underscores and capitals;
    * by its name, or the end of it from a dot on, with or without the last part: `mixer.query.weight`, `log_decay`,
      `layer1_*`.

    `*`, `?` and `[...]` are those of file names; `*` also stands for dots.

    Args:
        network: static or a supernet.
    """

    def __init__(self, network: nn.Module) -> None:
        self._classes: dict[str, set[str]] = {}
        self._ends: dict[str, list[str]] = {}
        modules = dict(network.named_modules())
        for name, _ in network.named_parameters():
            parts = name.split(".")
            owners = (modules[".".join(parts[:count])] for count in range(1, len(parts)))
            self._classes[name] = {_spelled(owner) for owner in owners if not isinstance(owner, _CONTAINERS)}
            whole = (".".join(parts[start:]) for start in range(len(parts)))
            short = (".".join(parts[start:-1]) for start in range(len(parts) - 1))
            self._ends[name] = [*whole, *short]

    def meant(self, pattern: str) -> set[str]:
        """Names of the parameters that a pattern means."""
        spelled = pattern.replace("_", "").lower()
        return {
            name
            for name, ends in self._ends.items()
            if any(fnmatchcase(end, pattern) for end in ends)
            or any(fnmatchcase(kind, spelled) for kind in self._classes[name])
        }

    def told(self) -> str:
        """What can be meant, for people: operators, and names with `*` for numbers of layers."""
        kinds = sorted(set().union(*self._classes.values()))
        names = dict.fromkeys(re.sub(r"\d+(?=[_.])", "*", name) for name in self._ends)
        return f"operators {', '.join(kinds)}; parameters {', '.join(names)}"


def _spelled(module: nn.Module) -> str:
    """The name of the class of a module, as `NamedParameters` compares it; the same in a supernet and a static network."""
    kind = type(module).__name__.lower()
    return kind.removeprefix("elastic").removesuffix("block") or kind


def applicable(network: nn.Module, multipliers: Mapping[str, float]) -> dict[str, float]:
    """Those multipliers that mean something in a network: one that was taken from a supernet has not all of its kinds of
    layers."""
    parameters = NamedParameters(network)
    return {pattern: factor for pattern, factor in multipliers.items() if parameters.meant(pattern)}


def learning_rate_factors(network: nn.Module, config: TrainingConfig) -> dict[str, float]:
    """By what the learning rate of each parameter is multiplied, by its name.

    Factors of all patterns that mean a parameter are multiplied. With `learning_rate_base_width` so is, of the weight
    of a linear map, that width over the number of its inputs, at most 1: in the maximal update parametrisation the
    rate of Adam for matrices falls with their inputs and that of embeddings, biases and vectors does not (Yang et al.,
    "Tensor programs V", 2022, table 3). The first weights are those of the space in any case. In a supernet the
    inputs are those of the largest matrix.

    Raises:
        UsageError: when a pattern means nothing, naming what there is.
    """
    factors = dict.fromkeys((name for name, _ in network.named_parameters()), 1.0)
    if config.learning_rate_base_width is not None:
        factors |= _width_factors(network, config.learning_rate_base_width)
    parameters = NamedParameters(network) if config.learning_rate_multipliers else None
    for pattern, factor in config.learning_rate_multipliers.items():
        assert parameters is not None
        meant = parameters.meant(pattern)
        if not meant:
            raise UsageError(
                f"training.learning_rate_multipliers: {pattern!r} means no parameter; there are {parameters.told()}"
            )
        factors |= {name: factors[name] * factor for name in meant}
    return factors


def _width_factors(network: nn.Module, base: int) -> dict[str, float]:
    return {
        f"{name}.weight" if name else "weight": min(1.0, base / module.in_features)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | ElasticLinear)
    }
