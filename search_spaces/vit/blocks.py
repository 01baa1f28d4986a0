"""The parts of a vision transformer (Dosovitskiy et al., ICLR 2021), written once for static and elastic layers.

Normalisation comes first in every block. Widths are taken from tensors, so that an elastic block follows its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from search_spaces.convnet.blocks import ConvNormAct
from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, reorder


class PatchEmbedding(nn.Module):
    """Tokens of the patches of an image, with positions, after a class token where there is one.

    Args:
        layers: makes the layers.
        in_channels: of the images.
        width: of a token.
        patch: rows and columns of a patch, in pixels.
        grid: rows and columns of patches.
        class_token: whether a learned token comes before the others.
        stem: channels of 3x3 convolutions with stride 2 that come first (Xiao et al., "Early convolutions help
            transformers see better", NeurIPS 2021); the patches are those of what they give.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        width: int,
        patch: int,
        grid: int,
        class_token: bool,
        stem: Sequence[int] = (),
    ) -> None:
        super().__init__()
        channels = (in_channels, *stem)
        size = patch // 2 ** len(stem)
        self.stem = nn.Sequential(*(ConvNormAct(layers, a, b, 3, 2, "relu") for a, b in pairwise(channels)))
        self.project = layers.conv(channels[-1], width, size, size, bias=True, padding=0)
        self.token = layers.parameter(1, 1, width) if class_token else None
        self.positions = layers.positions(grid, width, int(class_token))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, tokens, width)."""
        tokens: Tensor = self.project(self.stem(x)).flatten(2).transpose(1, 2)
        if self.token is not None:
            tokens = torch.cat([self.token().expand(x.shape[0], -1, -1), tokens], dim=1)
        placed: Tensor = tokens + self.positions()
        return placed


class SelfAttention(nn.Module):
    """Every token attends to all tokens, with several heads; the input is added.

    Heads have a fixed width, so that the first heads are the first rows of queries, keys and values (AutoFormer, Chen
    et al., ICCV 2021).

    Args:
        layers: makes the layers.
        width: of a token.
        heads: number of heads.
        head_width: features of a head.
        epsilon: of layer normalisation.
    """

    def __init__(self, layers: Layers, width: int, heads: int, head_width: int, epsilon: float) -> None:
        super().__init__()
        self.head_width = head_width
        self.norm = layers.layer_norm(width, epsilon)
        self.query, self.key, self.value = (layers.linear(width, heads * head_width) for _ in range(3))
        self.out = layers.linear(heads * head_width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, tokens, width), as `x` has."""
        y = self.norm(x)
        query, key, value = (self._heads(layer(y)) for layer in (self.query, self.key, self.value))
        weights = torch.softmax((query * self.head_width**-0.5) @ key.transpose(2, 3), dim=-1)
        attended = (weights @ value).transpose(1, 2).flatten(2)
        result: Tensor = x + self.out(attended)
        return result

    def _heads(self, y: Tensor) -> Tensor:
        """Shape (n, heads, tokens, head width)."""
        return y.view(-1, y.shape[1], y.shape[2] // self.head_width, self.head_width).transpose(1, 2)

    def sort_channels(self) -> list[Reordering]:
        """Order the heads by falling L1 norm of the weights that read them."""
        read = _read(self.out).view(-1, self.head_width).sum(1)
        heads = read.argsort(descending=True, stable=True)
        order = (heads[:, None] * self.head_width + torch.arange(self.head_width, device=heads.device)).flatten()
        rows = [move for layer in (self.query, self.key, self.value) for move in reorder(layer, 0, order)]
        return rows + reorder(self.out, 1, order)


class FeedForward(nn.Module):
    """Two layers with GELU between them, for each token; the input is added.

    The hidden units of a smaller one are the first of the largest one's (MatFormer, Devvrit et al., NeurIPS 2024).

    Args:
        layers: makes the layers.
        width: of a token.
        hidden: units between the layers.
        epsilon: of layer normalisation.
    """

    def __init__(self, layers: Layers, width: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.norm = layers.layer_norm(width, epsilon)
        self.expand, self.project = layers.linear(width, hidden), layers.linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, tokens, width), as `x` has."""
        result: Tensor = x + self.project(nn.functional.gelu(self.expand(self.norm(x))))
        return result

    def sort_channels(self) -> list[Reordering]:
        """Order the hidden units by falling L1 norm of the weights that read them."""
        order = _read(self.project).argsort(descending=True, stable=True)
        return reorder(self.expand, 0, order) + reorder(self.project, 1, order)


class Classifier(nn.Module):
    """Logits of the class token, or of the mean of all tokens.

    What is classified is normalised: for the class token that is what normalising all tokens gives.

    Args:
        layers: makes the layers.
        width: of a token.
        classes: number of classes.
        class_token: whether the first token is one.
        epsilon: of layer normalisation.
    """

    def __init__(self, layers: Layers, width: int, classes: int, class_token: bool, epsilon: float) -> None:
        super().__init__()
        self.class_token = class_token
        self.norm = layers.layer_norm(width, epsilon)
        self.linear = layers.linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, classes)."""
        logits: Tensor = self.linear(self.norm(x[:, 0] if self.class_token else x.mean(1)))
        return logits


def _read(reader: nn.Module) -> Tensor:
    """L1 norm of the weights that read each input of a linear layer."""
    return reader.get_parameter("weight").detach().abs().sum(0)
