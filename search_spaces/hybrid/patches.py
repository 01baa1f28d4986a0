"""Smaller images whose channels are normalised at every pixel: first layers, and what stages of mixers begin with."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.hybrid.tokens import to_image, to_tokens
from search_spaces.layers import Layers


def pad_after(x: Tensor, multiple: int) -> Tensor:
    """Zeros below and to the right of images, so that height and width are multiples of `multiple`."""
    bottom, right = (-size % multiple for size in x.shape[2:])
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


class PatchConvolution(nn.Module):
    """Convolution with bias, then layer normalisation of the channels; images of `ceil(size / stride)` pixels.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        kernel: of the convolution: `stride` (patches side by side) or an odd number.
        stride: of the convolution.
    """

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.multiple = stride if kernel == stride else 1
        self.project = layers.conv(
            in_channels, out_channels, kernel, stride, bias=True, padding=0 if kernel == stride else kernel // 2
        )
        self.norm = layers.layer_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(pad_after(x, self.multiple))
        return to_image(self.norm(to_tokens(y)), *y.shape[2:])


class PatchMerging(nn.Module):
    """The pixels of a square side by side, layer normalisation, a linear map (Liu et al., Swin Transformer, ICCV 2021).

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        stride: height and width of the square.
    """

    def __init__(self, layers: Layers, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # Pixels of the same channel are neighbours, so that the first channels are the first features.
        self.norm = layers.layer_norm(in_channels * stride**2)
        self.reduce = layers.linear(in_channels * stride**2, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_after(x, self.stride)
        height, width = (size // self.stride for size in x.shape[2:])
        squares = x.unflatten(3, (width, self.stride)).unflatten(2, (height, self.stride))
        tokens = squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return to_image(self.reduce(self.norm(tokens)), height, width)
