"""Convolution with elastic channels, kernel size and groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic.layer import ElasticLayer, check_fits, prefix
from search_spaces.padding import SameConv2d, conv2d_same


class ElasticConv2d(ElasticLayer):
    """`nn.Conv2d` that takes fewer channels, fewer groups or a smaller kernel.

    * Channels: the first ones. A grouped convolution keeps the number of input channels of each group and drops the
      last groups; within each group it keeps the first output channels.
    * Kernel: the centre of the next larger kernel, flattened and multiplied by a learned matrix that all channels
      share (once-for-all, Cai et al., ICLR 2020). The matrices start as identities.
    * Depthwise: one input channel a group and as many groups as channels.

    Args:
        in_channels: largest number of input channels.
        out_channels: largest number of output channels.
        kernels: the odd kernel sizes.
        stride: of both dimensions.
        groups: largest number of groups.
        bias: whether there is one.
        follows: the grouped convolution whose outputs this one reads.
        padding: on every side; `None` for `same` padding, which goes with the kernel.
        same: whether it behaves as a `SameConv2d`, padded as TensorFlow does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernels: Sequence[int],
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        follows: ElasticLayer | None = None,
        padding: int | None = None,
        same: bool = False,
    ) -> None:
        super().__init__()
        largest = nn.Conv2d(in_channels, out_channels, max(kernels), stride, groups=groups, bias=bias)
        self.weight, self.bias = largest.weight, largest.bias
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernels, self.stride, self.padding, self.same = tuple(sorted(kernels)), stride, padding, same
        self.kernel_matrices = nn.ParameterDict(
            {f"{large}to{small}": torch.eye(small * small) for small, large in pairwise(self.kernels)}
        )
        # In a tuple, so that the other layer is not registered as a child of this one.
        self._follows = (follows,)
        self.active_in, self.active_out = in_channels, out_channels
        self.active_kernel, self.active_groups = self.kernels[-1], groups

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, nn.Conv2d) or not self._is_like(template):
            raise ValueError(f"{self} cannot become {template}")
        kernel = template.kernel_size[0]
        if kernel not in self.kernels:
            raise ValueError(f"{self} has no kernel size {kernel}; it has {self.kernels}")
        check_fits(
            self,
            in_channels=(template.in_channels, self.in_channels),
            out_channels=(template.out_channels, self.out_channels),
            groups=(template.groups, self.groups),
        )
        self.set_active(
            active_in=template.in_channels,
            active_out=template.out_channels,
            active_kernel=kernel,
            active_groups=template.groups,
        )

    def _is_like(self, template: nn.Conv2d) -> bool:
        """Whether all that is not elastic agrees: stride, padding, bias, and the input channels of each group."""
        padding = 0 if self.same else self._padding(template.kernel_size[0])
        return (
            template.stride == (self.stride, self.stride)
            and template.padding == (padding, padding)
            and isinstance(template, SameConv2d) == self.same
            and (template.bias is None) == (self.bias is None)
            and (self.groups == 1 or template.in_channels // template.groups == self.in_channels // self.groups)
        )

    def _padding(self, kernel: int) -> int:
        return kernel // 2 if self.padding is None else self.padding

    def _active_weight(self) -> Tensor:
        weight = prefix(self.weight, 0, self.active_out, self.active_groups, self.groups)
        if self.groups == 1:
            blocks, blocks_max = blocks_of(self._follows[0])
            weight = prefix(weight, 1, self.active_in, blocks, blocks_max)
        size = self.kernels[-1]
        for smaller in reversed(self.kernels[:-1]):
            if size == self.active_kernel:
                break
            margin = (size - smaller) // 2
            centre = weight[:, :, margin : size - margin, margin : size - margin]
            matrix = self.kernel_matrices[f"{size}to{smaller}"]
            weight = F.linear(centre.flatten(2), matrix).view_as(centre)
            size = smaller
        return weight

    def _active_bias(self) -> Tensor | None:
        return None if self.bias is None else prefix(self.bias, 0, self.active_out, self.active_groups, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, groups = self._active_weight(), self._active_bias(), self.active_groups
        if self.same:
            return conv2d_same(x, weight, bias, (self.stride, self.stride), (1, 1), groups)
        return F.conv2d(x, weight, bias, self.stride, padding=self._padding(self.active_kernel), groups=groups)

    def active_state(self) -> dict[str, Tensor]:
        state = {"weight": self._active_weight().detach()}
        bias = self._active_bias()
        return state if bias is None else {**state, "bias": bias.detach()}

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernels={self.kernels}, stride={self.stride}, "
            f"groups={self.groups}{', same' if self.same else ''}"
        )


def blocks_of(conv: ElasticLayer | None) -> tuple[int, int]:
    """Active and largest number of blocks that the output channels of `conv` are laid out in."""
    if not isinstance(conv, ElasticConv2d) or conv.groups == conv.out_channels:
        return 1, 1
    return conv.active_groups, conv.groups
