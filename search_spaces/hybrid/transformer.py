"""Transformer block for images (EfficientMod)."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.hybrid.attention import attend
from search_spaces.hybrid.tokens import to_image, to_tokens
from search_spaces.layers import Layers
from search_spaces.vit.blocks import FeedForward

HEADS, HEAD_WIDTH = 8, 32


class Transformer(nn.Module):
    """Attention of all pixels to all pixels, then a multilayer perceptron, as EfficientMod has them (Ma et al., ICLR
    2024): 8 heads of 32 dimensions, whatever the number of channels; queries, keys and values have no bias.

    Args:
        layers: makes the layers.
        channels: of input and output.
        hidden: channels within the perceptron.
    """

    def __init__(self, layers: Layers, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = layers.layer_norm(channels)
        self.qkv = layers.linear(channels, 3 * HEADS * HEAD_WIDTH, bias=False)
        self.project = layers.linear(HEADS * HEAD_WIDTH, channels)
        self.mlp = FeedForward(layers, channels, hidden, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        qkv = self.qkv(self.norm(tokens)).transpose(1, 2).unflatten(1, (3 * HEADS, HEAD_WIDTH))
        attended = attend(qkv[:, :HEADS], qkv[:, HEADS : 2 * HEADS], qkv[:, 2 * HEADS :])
        tokens = self.mlp(tokens + self.project(attended.flatten(1, 2).transpose(1, 2)))
        return to_image(tokens, *x.shape[2:])
