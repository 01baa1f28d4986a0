"""Descriptions of modules: hashable, and built with plain or with elastic layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from search_spaces.layers import Layers


@dataclass(frozen=True)
class ModuleSpec:
    """A module class and the arguments that make one.

    Attributes:
        module: a class whose first argument is a `Layers` factory.
        arguments: pairs of name and hashable value, sorted by name.
    """

    module: Callable[..., nn.Module]
    arguments: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, module: Callable[..., nn.Module], **arguments: Any) -> ModuleSpec:
        """The description of `module(layers, **arguments)`."""
        return cls(module, tuple(sorted(arguments.items())))

    def build(self, layers: Layers | None = None) -> nn.Module:
        """A new module, of plain torch layers unless another factory is given."""
        return self.module(layers or Layers(), **dict(self.arguments))

    def __getitem__(self, name: str) -> Any:
        return dict(self.arguments)[name]


def cover(specs: Sequence[ModuleSpec]) -> ModuleSpec:
    """The smallest description that every one of `specs` fits into: each integer argument takes its largest value.

    Raises:
        ValueError: when the classes differ, or an argument that is not an integer does.
    """
    first = specs[0]
    if any(spec.module is not first.module for spec in specs):
        raise ValueError("modules of different classes do not share weights")
    arguments = {}
    for name, value in first.arguments:
        values = {spec[name] for spec in specs}
        if len(values) > 1 and not all(type(v) is int for v in values):
            raise ValueError(f"argument {name!r} of {first.module} cannot be elastic: {sorted(map(repr, values))}")
        arguments[name] = max(values) if len(values) > 1 else value
    return ModuleSpec.of(first.module, **arguments)
