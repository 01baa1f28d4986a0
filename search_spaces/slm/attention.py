"""Attention of grouped queries with rotary positions, to all tokens before or to those in a window."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.reordering import Reordering, input_importance, reorder
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.rotation import Stretch, places, rotation
from search_spaces.workload import Shape

#: As of Llama (Touvron et al., 2023).
BASE = 10_000.0


class GroupedAttention(Mixer):
    """Several heads of queries share each head of keys and values (Ainslie et al., "GQA", EMNLP 2023).

    Query head `h` reads key-value head `h % kv_heads`: with fewer key-value heads, which are the first ones, those that
    remain keep the queries that they had. With fewer heads of queries, too, the queries of the others leave with them.
    Sizes are taken from the layers, so that an elastic mixer follows them.

    Args:
        layers: makes the layers.
        width: of a token.
        heads: heads of queries.
        kv_heads: heads of keys and values, a divisor of `heads`.
        head_width: features of a head.
        base: of the rotation.
        bias: whether queries, keys and values have one, as in Qwen2.
        norm_epsilon: of the normalisation of queries and keys in every head, as in Qwen3; 0 leaves it out.
        stretch: of the rotation, the numbers of a `Stretch`.

    Raises:
        ValueError: when the heads cannot be grouped.
    """

    def __init__(
        self,
        layers: Layers,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        base: float = BASE,
        bias: bool = False,
        norm_epsilon: float = 0.0,
        stretch: tuple[float, float, float, float] | None = None,
    ) -> None:
        super().__init__()
        if heads % kv_heads or head_width % 2:
            raise ValueError(f"{heads} heads of {head_width} features cannot share {kv_heads} heads of keys and values")
        self.head_width, self.base = head_width, base
        self.stretch = None if stretch is None else Stretch(*stretch)
        inner = heads * head_width
        # Each part has one head of queries for every head of keys and values.
        self.query = layers.linear(width, inner, bias=bias, parts=heads // kv_heads)
        self.key, self.value = (layers.linear(width, kv_heads * head_width, bias=bias) for _ in range(2))
        self.output = layers.linear(inner, width, bias=False, follows=self.query)
        norms = (layers.rms_norm(head_width, norm_epsilon) if norm_epsilon else nn.Identity() for _ in range(2))
        self.query_norm, self.key_norm = norms

    def forward(self, x: Tensor) -> Tensor:
        return self.prefill(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        queries, keys, values = self._projected(x)
        attended, state = self.attended(queries, keys, values)
        return (self._joined(attended), *state)

    @abstractmethod
    def attended(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What each query of a prompt reads, of the shape of `queries`, and the state after it.

        Args:
            queries: scaled, not yet rotated, shape (n, kv_heads, groups, t, head_width).
            keys: not yet rotated, shape (n, kv_heads, t, head_width).
            values: likewise.
        """

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (scaled), keys and values, as `attended` takes them."""
        size, tokens = self.head_width, x.shape[1]
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key = self._normed(self.query_norm, query) * size**-0.5, self._normed(self.key_norm, key)
        heads = key.shape[-1] // size
        groups = query.shape[-1] // (heads * size)
        queries = query.view(-1, tokens, groups, heads, size).permute(0, 3, 2, 1, 4)
        keys, values = (y.view(-1, tokens, heads, size).transpose(1, 2) for y in (key, value))
        return queries, keys, values

    def _normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Every head of `x`, shape (n, t, heads * head_width), normalised when it has to be."""
        if isinstance(norm, nn.Identity):
            return x
        heads: Tensor = norm(x.unflatten(2, (-1, self.head_width)))
        return heads.flatten(2)

    def sort_channels(self) -> list[Reordering]:
        """Order the heads of keys and values, each with its queries, by falling L1 norm of the weights that read them."""
        size = self.head_width
        count = self.key.get_parameter("weight").shape[0] // size
        read = input_importance(self.output).view(-1, count, size).sum((0, 2))
        heads = read.argsort(descending=True, stable=True)
        order = (heads[:, None] * size + torch.arange(size, device=heads.device)).flatten()
        groups = self.output.get_parameter("weight").shape[1] // (count * size)
        queries = (torch.arange(groups, device=order.device)[:, None] * count * size + order).flatten()
        rows = [move for layer in (self.key, self.value) for move in reorder(layer, 0, order)]
        return rows + reorder(self.query, 0, queries) + reorder(self.output, 1, queries)

    def _joined(self, attended: Tensor) -> Tensor:
        """The output tokens of what all heads read, shape (n, kv_heads, groups, t, head_width)."""
        result: Tensor = self.output(attended.permute(0, 3, 2, 1, 4).flatten(2))
        return result


class Attention(GroupedAttention):
    """Every token attends to itself and all tokens before it. State: rotated keys, and values, of all tokens so far."""

    def attended(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        tokens = keys.shape[2]
        turn = rotation(places(0, tokens, keys), self.head_width, self.base, self.stretch)
        queries, keys = turn(queries), turn(keys)
        # The queries of a group are rows of one matrix, so that no key is repeated.
        scores = queries.flatten(2, 3) @ keys.transpose(2, 3)
        mask = torch.full((tokens, tokens), -torch.inf, device=keys.device).triu(1)
        weights = torch.softmax(scores.unflatten(2, (-1, tokens)) + mask, dim=-1)
        return (weights.flatten(2, 3) @ values).unflatten(2, (-1, tokens)), (keys, values)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        keys, values = state
        query, key, value = self._projected(x)
        turn = rotation(places(keys.shape[2], 1, keys), self.head_width, self.base, self.stretch)
        keys, values = torch.cat([keys, turn(key)], dim=2), torch.cat([values, value], dim=2)
        return self._joined(_read(turn(query), keys, values)), keys, values

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        shape = (1, arguments["kv_heads"], tokens, arguments["head_width"])
        return shape, shape


class SlidingWindow(GroupedAttention):
    """Every token attends to itself and the `window - 1` tokens before it (Beltagy et al., "Longformer", 2020).

    Whole sequences are cut into blocks of `window` tokens, each of which looks at itself and at the one before it.
    State: keys, not rotated, and values of the last `window - 1` tokens, or of all while there are fewer. At every step
    they are rotated by their place among them, since only differences of places matter.

    Args:
        window: tokens that are seen, at least 2.
    """

    def __init__(
        self,
        layers: Layers,
        width: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        window: int,
        base: float = BASE,
        bias: bool = False,
        norm_epsilon: float = 0.0,
        stretch: tuple[float, float, float, float] | None = None,
    ) -> None:
        super().__init__(layers, width, heads, kv_heads, head_width, base, bias, norm_epsilon, stretch)
        if window < 2:
            raise ValueError(f"a window has 2 tokens or more, not {window}")
        self.window = layers.size(window)

    def attended(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        tokens, window, groups = keys.shape[2], self.window.value, queries.shape[2]
        blocks = (tokens + window - 1) // window
        turn = rotation(places(0, 2 * window, keys), self.head_width, self.base, self.stretch)
        own = rotation(places(window, window, keys), self.head_width, self.base, self.stretch)
        asking = own(_blocks(queries.flatten(1, 2), blocks, window)).unflatten(1, (-1, groups))
        asking = asking.transpose(2, 3).flatten(3, 4)  # (n, kv_heads, blocks, groups * window, head_width)
        seen, read = (_with_block_before(_blocks(y, blocks, window)) for y in (keys, values))
        scores = (asking @ turn(seen).transpose(3, 4)).unflatten(3, (groups, window))
        weights = torch.softmax(scores + self._mask(blocks, keys), dim=-1)
        found = (weights.flatten(3, 4) @ read).unflatten(3, (groups, window)).transpose(2, 3).flatten(3, 4)
        return found[:, :, :, :tokens], self._kept(keys, values)

    def _mask(self, blocks: int, like: Tensor) -> Tensor:
        """What is added to scores, shape (blocks, 1, window, 2 * window): minus infinity where a query does not see."""
        window = self.window.value
        query = places(window, window, like)[:, None]
        key = places(0, 2 * window, like)
        unseen = torch.where((key <= query) & (query - key < window), 0.0, -torch.inf)
        # Before the first block there is nothing.
        first = torch.where(places(0, blocks, like)[:, None] * window + key < window, -torch.inf, 0.0)
        return unseen + first[:, None, None]

    def _kept(self, *sequences: Tensor) -> tuple[Tensor, ...]:
        """The last `window - 1` tokens of keys and values, or all when there are fewer."""
        return tuple(sequence[:, :, 1 - self.window.value :] for sequence in sequences)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        query, key, value = self._projected(x)
        keys, values = (torch.cat(pair, dim=2) for pair in zip(state, (key, value), strict=True))
        last = keys.shape[2] - 1
        turned = rotation(places(0, last + 1, keys), self.head_width, self.base, self.stretch)(keys)
        query = rotation(places(last, 1, keys), self.head_width, self.base, self.stretch)(query)
        return (self._joined(_read(query, turned, values)), *self._kept(keys, values))

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        kept = min(tokens, arguments["window"] - 1)
        shape = (1, arguments["kv_heads"], kept, arguments["head_width"])
        return shape, shape


def _read(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What the queries of one token, of shape (n, kv_heads, groups, 1, head_width), read of all keys."""
    weights = torch.softmax(queries.squeeze(3) @ keys.transpose(2, 3), dim=-1)
    return (weights @ values).unsqueeze(3)


def _blocks(x: Tensor, blocks: int, window: int) -> Tensor:
    """Of shape (n, heads, t, head_width), cut into blocks, the last one filled up: (n, heads, blocks, window, head_width)."""
    cut: Tensor = F.pad(x, (0, 0, 0, blocks * window - x.shape[2])).unflatten(2, (blocks, window))
    return cut


def _with_block_before(x: Tensor) -> Tensor:
    """Every block after the one before it, zeros for the first; shape (n, heads, blocks, 2 * window, head_width)."""
    nothing = x.new_zeros(x.shape[0], x.shape[1], 1, x.shape[3], x.shape[4])
    before = torch.cat([nothing, x[:, :, :-1]], dim=2)
    return torch.cat([before, x], dim=3)
