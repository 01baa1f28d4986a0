"""Parts of an encoder-decoder transformer (Vaswani et al., NeurIPS 2017), as HAT runs them: normalisation comes last."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from search_spaces.layers import Layers


class TokenEmbedding(nn.Module):
    """Rows of a table, scaled, plus fixed positions.

    Args:
        layers: makes the layers.
        vocabulary: number of tokens.
        width: of a row.
        positions: how many different positions there are; several tokens at one position are a beam.
    """

    def __init__(self, layers: Layers, vocabulary: int, width: int, positions: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.scale = sqrt(width)
        self.positions: Tensor
        self.register_buffer("positions", sinusoids(positions, width)[None])

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape (n, tokens, width) of numbers of tokens."""
        result: Tensor = self.table(tokens) * self.scale + self.positions
        return result


def sinusoids(positions: int, width: int) -> Tensor:
    """Sines, then cosines, of each position at `width / 2` wavelengths from 2 pi to 20,000 pi; shape (positions, width)."""
    exponents = torch.arange(width // 2) / max(1, width // 2 - 1)
    angles = torch.arange(positions)[:, None] * 10_000.0**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    """The layers of attention with several heads; what attends to what is for subclasses.

    Args:
        layers: makes the layers.
        width: of the tokens that ask, and of the result.
        heads: number of heads.
        inner: width of all heads together.
        source: width of the tokens that are asked.
    """

    def __init__(self, layers: Layers, width: int, heads: int, inner: int, source: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, inner // heads
        self.scale = self.head_width**-0.5
        self.query = layers.linear(width, inner)
        self.key = layers.linear(source, inner)
        self.value = layers.linear(source, inner)
        self.out = layers.linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def attended(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mean of the values by the softmax of scaled products, of each head.

        Args:
            query: shape (n, heads, t, head width).
            keys: shape (n, heads, head width, s).
            values: shape (n, heads, s, head width).

        Returns:
            Shape (n, heads, t, head width).
        """
        weights = torch.softmax((query * self.scale) @ keys, dim=-1)
        return weights @ values

    def result(self, x: Tensor, attended: Tensor) -> Tensor:
        """The normalised sum of `x` and what attention gives, shape (n, t, width)."""
        y: Tensor = self.norm(x + self.out(attended))
        return y


class SelfAttention(Attention):
    """Every token attends to all tokens."""

    def __init__(self, layers: Layers, width: int, heads: int, inner: int) -> None:
        super().__init__(layers, width, heads, inner, source=width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, t, width), as `x` has."""
        shape = (*x.shape[:2], self.heads, self.head_width)
        query, keys, values = (layer(x).view(shape) for layer in (self.query, self.key, self.value))
        query, keys, values = query.permute(0, 2, 1, 3), keys.permute(0, 2, 3, 1), values.permute(0, 2, 1, 3)
        mixed = self.attended(query, keys, values).permute(0, 2, 1, 3)
        return self.result(x, mixed.reshape(*x.shape[:2], -1))


class CachedSelfAttention(Attention):
    """One step of decoding: a new token of every sentence of a beam attends to itself and the tokens before it."""

    def __init__(self, layers: Layers, width: int, heads: int, inner: int) -> None:
        super().__init__(layers, width, heads, inner, source=width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The new tokens, keys and values.

        Args:
            x: one token of each sentence, shape (n, beam, width).
            keys: of earlier tokens, shape (n, beam * heads, head width, s).
            values: likewise, shape (n, beam * heads, s, head width).
        """
        batch, beam, _ = x.shape
        stacks = beam * self.heads
        query, key, value = (layer(x) for layer in (self.query, self.key, self.value))
        keys = torch.cat([keys, key.view(batch, stacks, self.head_width, 1)], dim=3)
        values = torch.cat([values, value.view(batch, stacks, 1, self.head_width)], dim=2)
        mixed = self.attended(query.view(batch, stacks, 1, self.head_width), keys, values)
        return self.result(x, mixed.view(batch, beam, -1)), keys, values


class CachedCrossAttention(Attention):
    """One step of decoding: a token of every sentence of a beam attends to keys of the encoder's tokens.

    All of those keys and values are made once for a sentence. Each step makes an equal share of them, so that the
    sums over all steps are those of a sentence.
    """

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The new tokens, and the keys and values of this step's share of the source.

        Args:
            x: one token of each sentence, shape (n, beam, width).
            keys: of the encoder's tokens, shape (n, beam * heads, head width, s).
            values: likewise, shape (n, beam * heads, s, head width).
            source: this step's share of the encoder's tokens, shape (n, share, source width).
        """
        batch, beam, _ = x.shape
        query = self.query(x).view(batch, beam * self.heads, 1, self.head_width)
        mixed = self.attended(query, keys, values)
        return self.result(x, mixed.view(batch, beam, -1)), self.key(source), self.value(source)


class FeedForward(nn.Module):
    """Two layers with ReLU between them; the normalised sum with the input."""

    def __init__(self, layers: Layers, width: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second = layers.linear(width, hidden), layers.linear(hidden, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, t, width), as `x` has."""
        y: Tensor = self.norm(x + self.second(torch.relu(self.first(x))))
        return y


class Vocabulary(nn.Module):
    """Scores of all tokens: a linear layer without bias."""

    def __init__(self, layers: Layers, width: int, vocabulary: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, t, vocabulary)."""
        scores: Tensor = self.linear(x)
        return scores
