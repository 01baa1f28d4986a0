"""A layer that becomes any one of several operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from search_spaces.elastic.layer import ElasticLayer
from search_spaces.options import OneOf


class ElasticOneOf(ElasticLayer, OneOf):
    """Holds all options, each with weights of its own, and runs the one of the static layer that it becomes last.

    Args:
        options: makes the module of each number.
    """

    def __init__(self, options: Sequence[Callable[[], nn.Module]]) -> None:
        OneOf.__init__(self, options, range(len(options)))

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, OneOf) or f"option{template.chosen}" not in self.options:
            raise ValueError(f"{self} cannot become {template}")
        self.set_active(chosen=template.chosen)

    def active_state(self) -> dict[str, Tensor]:
        """Nothing: the options are static layers, whose weights are copied by their own names."""
        return {}
