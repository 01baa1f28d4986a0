"""The blocks of residual networks with bottlenecks (He et al., CVPR 2016), in the variant ResNet-D (He et al., CVPR
2019): three small convolutions as a stem, and shortcuts that average before they project."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.convnet.blocks import Block, ConvNormAct
from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, falling_importance, reorder


class Bottleneck(Block):
    """1x1 convolution to hidden channels, 3x3 convolution, 1x1 convolution to the output, and a shortcut.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        out_channels: of the output.
        hidden: channels of the 3x3 convolution.
        stride: of the 3x3 convolution.
        project: whether the shortcut is an average over `stride` x `stride` and a projection; otherwise it is the input.
    """

    def __init__(
        self, layers: Layers, in_channels: int, out_channels: int, hidden: int, stride: int, project: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.norm1 = layers.conv(in_channels, hidden), layers.norm(hidden)
        self.conv2, self.norm2 = layers.conv(hidden, hidden, 3, stride), layers.norm(hidden)
        self.conv3, self.norm3 = layers.conv(hidden, out_channels), layers.norm(out_channels)
        # At the right and lower edge of an odd size the average is over the pixels that there are.
        self.pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
        self.project = layers.conv(in_channels, out_channels) if project else None
        self.project_norm = layers.norm(out_channels) if project else None
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(self.conv1(x)))
        y = self.act(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.project is not None and self.project_norm is not None:
            x = self.project_norm(self.project(self.pool(x)))
        result: Tensor = self.act(y + x)
        return result

    def sort_channels(self) -> list[Reordering]:
        moved = []
        for conv, norm, reader in ((self.conv2, self.norm2, self.conv3), (self.conv1, self.norm1, self.conv2)):
            order = falling_importance(reader)
            moved += reorder(conv, 0, order) + reorder(norm, 0, order) + reorder(reader, 1, order)
        return moved


class ResidualConvNormAct(ConvNormAct):
    """`ConvNormAct` whose input is added to its output; as many output as input channels, stride 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class MaxPool(nn.MaxPool2d):
    """Maximum over 3 x 3 pixels with stride 2."""

    def __init__(self, layers: Layers) -> None:
        super().__init__(3, stride=2, padding=1)


class PooledClassifier(nn.Module):
    """Global average and classifier."""

    def __init__(self, layers: Layers, in_channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = layers.linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits
