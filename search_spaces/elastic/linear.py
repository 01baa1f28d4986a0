"""Affine map with elastic features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits


class ElasticLinear(ElasticLayer):
    """`nn.Linear` over the first features.

    Args:
        in_features: largest number of inputs.
        out_features: largest number of outputs.
        bias: whether there is one.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        largest = nn.Linear(in_features, out_features, bias=bias)
        self.weight, self.bias = largest.weight, largest.bias
        self.in_features, self.out_features = in_features, out_features
        self.active_in, self.active_out = in_features, out_features

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.Linear) or (template.bias is None) != (self.bias is None):
            raise ValueError(f"{self} cannot become {template}")
        check_fits(
            self,
            in_features=(template.in_features, self.in_features),
            out_features=(template.out_features, self.out_features),
        )
        self.set_active(active_in=template.in_features, active_out=template.out_features)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        bias = None if self.bias is None else self.bias[: self.active_out]
        return self.weight[: self.active_out, : self.active_in], bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self._active())

    def active_state(self) -> dict[str, Tensor]:
        weight, bias = self._active()
        state = {"weight": weight.detach()}
        return state if bias is None else {**state, "bias": bias.detach()}

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
