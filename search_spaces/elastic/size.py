"""An elastic size that no tensor has."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.elastic.layer import ElasticLayer, check_fits
from search_spaces.size import Size


class ElasticSize(ElasticLayer, Size):
    """`Size` of any number up to the largest one.

    Args:
        value: largest one.
    """

    def __init__(self, value: int) -> None:
        Size.__init__(self, value)
        self.largest = value

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, Size):
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, value=(template.value, self.largest))
        self.set_active(value=template.value)

    def active_state(self) -> dict[str, Tensor]:
        """Nothing: there is no tensor."""
        return {}
