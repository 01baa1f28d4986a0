"""Transposed convolution with elastic channels."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits


class ElasticConvTranspose2d(ElasticLayer):
    """`nn.ConvTranspose2d` with bias and without groups over the first channels; it multiplies the size by its stride.

    Args:
        in_channels: largest number of input channels.
        out_channels: largest number of output channels.
        kernel: of both dimensions; as even or odd as `stride`.
        stride: of both dimensions.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, (kernel - stride) // 2
        largest = nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding=self.padding)
        self.weight, self.bias = largest.weight, cast(nn.Parameter, largest.bias)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.active_in, self.active_out = in_channels, out_channels

    def activate(self, template: nn.Module) -> None:
        fixed = ((self.kernel,) * 2, (self.stride,) * 2, (self.padding,) * 2, 1)
        if not isinstance(template, nn.ConvTranspose2d) or fixed != (
            template.kernel_size, template.stride, template.padding, template.groups
        ):  # fmt: skip
            raise ValueError(f"{self} cannot become {template}")
        check_fits(
            self,
            in_channels=(template.in_channels, self.in_channels),
            out_channels=(template.out_channels, self.out_channels),
        )
        self.set_active(active_in=template.in_channels, active_out=template.out_channels)

    def _active(self) -> tuple[Tensor, Tensor]:
        return self.weight[: self.active_in, : self.active_out], self.bias[: self.active_out]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, *self._active(), self.stride, self.padding)

    def active_state(self) -> dict[str, Tensor]:
        weight, bias = self._active()
        return {"weight": weight.detach(), "bias": bias.detach()}

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}, stride={self.stride}"
