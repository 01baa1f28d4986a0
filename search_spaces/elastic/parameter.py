"""A learned tensor of elastic shape."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.elastic.layer import ElasticLayer, check_fits
from search_spaces.parameter import Parameter


class ElasticParameter(ElasticLayer, Parameter):
    """`Parameter` over the first entries of each dimension.

    Args:
        shape: largest one.
        fill: first value.
    """

    active_shape: tuple[int, ...]

    def __init__(self, *shape: int, fill: float = 0.0) -> None:
        Parameter.__init__(self, *shape, fill=fill)
        self.active_shape = shape

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, Parameter) or template.weight.dim() != self.weight.dim():
            raise ValueError(f"{self} cannot become {template}")
        sizes = zip(template.weight.shape, self.weight.shape, strict=True)
        check_fits(self, **{f"size{dim}": pair for dim, pair in enumerate(sizes)})
        vars(self).update(active_shape=tuple(template.weight.shape))

    def forward(self) -> Tensor:
        return self.weight[tuple(slice(size) for size in self.active_shape)]

    def active_state(self) -> dict[str, Tensor]:
        return {"weight": self.forward().detach()}

    def extra_repr(self) -> str:
        return str(tuple(self.weight.shape))
