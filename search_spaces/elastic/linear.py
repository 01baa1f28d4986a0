"""Affine map with elastic features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits, prefix


class ElasticLinear(ElasticLayer):
    """`nn.Linear` over the first features, or the first ones of each part.

    Args:
        in_features: largest number of inputs.
        out_features: largest number of outputs.
        bias: whether there is one.
        parts: equal parts that the outputs are laid out in.
        follows: the affine map whose outputs are the inputs, in its parts.

    Raises:
        ValueError: when the features cannot be laid out so.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        parts: int = 1,
        follows: ElasticLayer | None = None,
    ) -> None:
        super().__init__()
        self.parts, self.in_parts = parts, follows.parts if isinstance(follows, ElasticLinear) else 1
        self._check_parts(in_features, out_features)
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
        self._check_parts(template.in_features, template.out_features)
        self.set_active(active_in=template.in_features, active_out=template.out_features)

    def _check_parts(self, in_features: int, out_features: int) -> None:
        for features, parts in ((in_features, self.in_parts), (out_features, self.parts)):
            if features % parts:
                raise ValueError(f"{features} features cannot be laid out in {parts} equal parts")

    def _active(self) -> tuple[Tensor, Tensor | None]:
        weight = prefix(self.weight, 0, self.active_out, self.parts, self.parts)
        weight = prefix(weight, 1, self.active_in, self.in_parts, self.in_parts)
        return weight, None if self.bias is None else prefix(self.bias, 0, self.active_out, self.parts, self.parts)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self._active())

    def active_state(self) -> dict[str, Tensor]:
        weight, bias = self._active()
        state = {"weight": weight.detach()}
        return state if bias is None else {**state, "bias": bias.detach()}

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
