"""A computed tensor of elastic size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.constant import Constant
from search_spaces.elastic.layer import ElasticLayer, check_fits


class ElasticConstant(ElasticLayer, Constant):
    """`Constant` of any size up to the largest one; each is computed when it is first asked for.

    None of them is in the state dictionary: there is nothing in them that a computation does not give.

    Args:
        make: gives the tensor of a size.
        size: largest one.
    """

    def __init__(self, make: Callable[[int], Tensor], size: int) -> None:
        nn.Module.__init__(self)
        self.make, self.size = make, size
        self.register_buffer("value", make(size), persistent=False)
        self.active_size = size

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, Constant) or template.make is not self.make:
            raise ValueError(f"{self} cannot become {template}")
        check_fits(self, size=(template.size, self.size))
        self.set_active(active_size=template.size)

    def forward(self) -> Tensor:
        if self.active_size == self.size:
            return self.value
        name = f"value{self.active_size}"
        if name not in self._buffers:
            with torch.device(self.value.device):
                made = self.make(self.active_size).to(self.value.dtype)
            self.register_buffer(name, made, persistent=False)
        return self.get_buffer(name)

    def active_state(self) -> dict[str, Tensor]:
        return {"value": self.forward()}
