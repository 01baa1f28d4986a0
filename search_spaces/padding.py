"""Convolution whose padding follows TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def conv2d_same(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """`torch.nn.functional.conv2d` with as many zeros around `x` as an output of `ceil(size / stride)` takes.

    Of an odd number the last zero is at the end (TensorFlow's SAME, ONNX's SAME_UPPER): a kernel of 3 with stride 2
    gets 0 before and 1 after an even size, and 1 on both sides of an odd one.
    """
    top, bottom = _zeros(x.shape[2], weight.shape[2], stride[0], dilation[0])
    left, right = _zeros(x.shape[3], weight.shape[3], stride[1], dilation[1])
    if (top, left) == (bottom, right):
        return F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, groups)


def _zeros(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """`nn.Conv2d` with the padding of `conv2d_same`."""

    def forward(self, x: Tensor) -> Tensor:
        return conv2d_same(x, self.weight, self.bias, self.stride, self.dilation, self.groups)
