"""Convolutions with 2x2 kernels (CPUBone)."""

from __future__ import annotations

from math import ceil

from torch import Tensor
from torch.nn import functional as F

from search_spaces.convnet.blocks import FusedMBConv
from search_spaces.layers import Layers


def pad_before(x: Tensor, kernel: int, stride: int = 1) -> Tensor:
    """Zeros above and to the left of images, so that a convolution without padding gives `ceil(size / stride)` pixels.

    A kernel of even size has no centre; CPUBone's 2x2 kernels see a pixel, and those above and to the left of it.

    Args:
        x: shape (n, channels, height, width).
        kernel: size of the kernel of the convolution.
        stride: of the convolution.
    """
    top, left = (max(0, (ceil(size / stride) - 1) * stride + kernel - size) for size in x.shape[2:])
    return F.pad(x, (left, 0, top, 0)) if top or left else x


class SmallKernelMBConv(FusedMBConv):
    """2x2 convolution in two groups that expands, then a 1x1 projection.

    It has 3 / 5 of the MACs of the same block with a 3x3 kernel and 3 / 10 of those of a dense one, at about as many
    MACs per second on a CPU (Nottebaum et al., CPUBone, arXiv:2603.26425).

    Args:
        layers: makes the layers.
        in_channels: of the input, even.
        out_channels: of the output.
        hidden: channels between the two convolutions, even.
        stride: of the first convolution.
        activation: `relu` or `hardswish`.
    """

    def __init__(
        self, layers: Layers, in_channels: int, out_channels: int, hidden: int, stride: int, activation: str
    ) -> None:
        super().__init__(layers, in_channels, out_channels, hidden, 2, stride, activation, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.fused_norm(self.fused(pad_before(x, 2, self.stride))))
        return self.residual(x, self.project_norm(self.project(y)))
