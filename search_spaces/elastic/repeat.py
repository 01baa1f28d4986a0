"""A chain of blocks of which the first ones run."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.elastic.layer import ElasticLayer, check_fits
from search_spaces.repeat import Repeat


class ElasticRepeat(ElasticLayer, Repeat):
    """Holds as many blocks as the longest chain, and runs the first ones; they are made of elastic layers themselves."""

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, Repeat):
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, count=(template.count, len(self.blocks)))
        self.set_active(count=template.count)

    def active_state(self) -> dict[str, Tensor]:
        """Nothing: the layers of the blocks are copied by their own names."""
        return {}
