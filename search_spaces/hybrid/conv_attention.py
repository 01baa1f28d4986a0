"""Attention at a low resolution between convolutions (LowFormer, CPUBone)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.hybrid.attention import attend
from search_spaces.hybrid.small_kernel import pad_before
from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, falling_importance, reorder


def heads_of(channels: int) -> tuple[int, int]:
    """Number of heads, and channels of each, when half the channels are attended to: about 30 a head."""
    heads = max(1, channels // 2 // 30)
    return heads, channels // heads // 2


class _ConvAttention(nn.Module):
    """Attention on images that a depthwise convolution has made smaller, then a multilayer perceptron.

    Both have a residual, and a normalisation over all channels and pixels before them. Half the channels take part in
    the attention.

    Args:
        layers: makes the layers.
        channels: of input and output.
        hidden: channels within the perceptron.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, kernel: int, stride: int) -> None:
        super().__init__()
        heads, size = heads_of(channels)
        self.attended, self.stride = heads * size, stride
        self.norm = layers.group_norm(channels)
        self.reduce = layers.conv(channels, channels, kernel, stride, groups=channels)
        self.reduce_norm = layers.norm(channels)
        self.qkv = layers.conv(channels, 3 * self.attended, parts=3)
        self.mlp_norm = layers.group_norm(channels)
        self.mlp_expand = layers.conv(channels, hidden, bias=True)
        self.mlp_project = layers.conv(hidden, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        y: Tensor = self.mlp_project(F.gelu(self.mlp_expand(self.mlp_norm(x))))
        return x + y

    def attention(self, x: Tensor) -> Tensor:
        """The change that attention makes, of the shape of `x`."""
        height, width = x.shape[2:]
        qkv = self.qkv(self.reduce_norm(self.smaller(self.norm(x))))
        heads, size = heads_of(x.shape[1])
        rows, columns = qkv.shape[2:]
        parts = qkv.reshape(-1, 3 * heads, size, rows * columns)
        attended = attend(parts[:, :heads], parts[:, heads : 2 * heads], parts[:, 2 * heads :])
        y = self.larger(attended.reshape(-1, heads * size, rows, columns))
        # Of an odd size the smaller images cover more.
        return y[:, :, :height, :width]

    def smaller(self, x: Tensor) -> Tensor:
        """Images of `ceil(size / stride)` pixels, before their normalisation."""
        y: Tensor = self.reduce(x)
        return y

    def larger(self, x: Tensor) -> Tensor:
        """All channels at `stride` times the size of `x`, the channels attended to."""
        raise NotImplementedError

    def sort_channels(self) -> list[Reordering]:
        """Order the hidden channels of the perceptron by falling importance."""
        order = falling_importance(self.mlp_project)
        return reorder(self.mlp_expand, 0, order) + reorder(self.mlp_project, 1, order)


class ConvAttention(_ConvAttention):
    """With a transposed convolution back to the full size (Nottebaum et al., LowFormer, WACV 2025).

    Args:
        layers: makes the layers.
        channels: of input and output.
        hidden: channels within the perceptron.
        stride: how many times smaller the attention's images are: 1, 2 or 4.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, stride: int) -> None:
        super().__init__(layers, channels, hidden, 1 + 2 * stride.bit_length(), stride)
        self.enlarge = layers.conv_transpose(self.attended, channels, max(3, 2 * stride), stride)

    def larger(self, x: Tensor) -> Tensor:
        y: Tensor = self.enlarge(x)
        return y


class SmallKernelAttention(_ConvAttention):
    """With a 2x2 kernel, a 1x1 convolution, and pixels repeated to the full size (CPUBone, arXiv:2603.26425).

    Args:
        layers: makes the layers.
        channels: of input and output.
        hidden: channels within the perceptron.
        stride: how many times smaller the attention's images are.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int, stride: int) -> None:
        super().__init__(layers, channels, hidden, 2, stride)
        self.project = layers.conv(self.attended, channels, bias=True)

    def smaller(self, x: Tensor) -> Tensor:
        return super().smaller(pad_before(x, 2, self.stride))

    def larger(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(x)
        return y if self.stride == 1 else F.interpolate(y, scale_factor=self.stride, mode="nearest")
