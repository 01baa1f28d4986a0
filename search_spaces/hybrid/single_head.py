"""The blocks of SHViT (Yun and Ro, CVPR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.hybrid.attention import attend
from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, falling_importance, reorder

#: Channels of query and key.
QUERY = 16


def attended(channels: int) -> int:
    """How many of the channels, the first ones, take part in the attention: 1 of 4.67."""
    return channels * 3 // 14


class ConvFeedForward(nn.Module):
    """Depthwise 3x3 convolution, then two 1x1 convolutions, each part with a residual: the block of early stages.

    Args:
        layers: makes the layers.
        channels: of input and output.
        hidden: channels between the 1x1 convolutions.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int) -> None:
        super().__init__()
        self.local = layers.conv(channels, channels, 3, groups=channels)
        self.local_norm = layers.norm(channels)
        self.expand = layers.conv(channels, hidden)
        self.expand_norm = layers.norm(hidden)
        self.project = layers.conv(hidden, channels)
        self.project_norm = layers.norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x + self.local_norm(self.local(x)))
        y: Tensor = self.project_norm(self.project(torch.relu(self.expand_norm(self.expand(x)))))
        return x + y

    def mix(self, x: Tensor) -> Tensor:
        """What happens between the two parts: nothing."""
        return x

    def sort_channels(self) -> list[Reordering]:
        """Order the hidden channels by falling importance."""
        order = falling_importance(self.project)
        moved = reorder(self.expand, 0, order) + reorder(self.expand_norm, 0, order)
        return moved + reorder(self.project, 1, order)


class SingleHeadAttention(ConvFeedForward):
    """The same with attention between: one head on the first channels, while the rest passes through.

    Args:
        layers: makes the layers.
        channels: of input and output, five or more.
        hidden: channels between the 1x1 convolutions.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int) -> None:
        super().__init__(layers, channels, hidden)
        part = attended(channels)
        self.attention_norm = layers.group_norm(part)
        self.qkv = layers.conv(part, 2 * QUERY + part)
        self.qkv_norm = layers.norm(2 * QUERY + part)
        self.merge = layers.conv(channels, channels)
        self.merge_norm = layers.norm(channels)

    def mix(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        part = attended(channels)
        qkv = self.qkv_norm(self.qkv(self.attention_norm(x[:, :part]))).flatten(2)
        y = attend(qkv[:, :QUERY], qkv[:, QUERY : 2 * QUERY], qkv[:, 2 * QUERY :])
        both = torch.cat([y.reshape(-1, part, height, width), x[:, part:]], dim=1)
        merged: Tensor = self.merge_norm(self.merge(torch.relu(both)))
        return x + merged
