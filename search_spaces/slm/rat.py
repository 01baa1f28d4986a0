"""Recurrence inside chunks, attention between them (Wei et al., "RAT: Bridging RNN efficiency and attention accuracy via
chunk-based sequence modeling", NeurIPS 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.layers import Layers
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.rotation import Rotation, places, rotation
from search_spaces.workload import Shape

BASE = 10_000.0

#: What is added to the scores of rows that are not there yet.
_UNSEEN = -1e9


class Rat(Mixer):
    """Keys and values are gated means since the start of their chunk; a token attends to those at the end of every chunk
    before its own, and to its own.

    Of each feature of keys and of values, with a gate g of every token, `s <- g s + (1 - g) x`, from 0 in every chunk.
    Rotary positions are those of chunks. What is read passes an output gate.

    State: a row for every chunk, shape (n, rows, 2 * heads * head_width), of keys and then values, zero where there was
    no token yet, and the number of tokens so far, shape (n, 1). The number of rows is fixed, so that a step has
    one shape wherever it is; a sequence has at most `rows * chunk` tokens, beyond which tokens leave no trace.

    Args:
        layers: makes the layers.
        width: of a token.
        heads: number of heads.
        head_width: features of a head, an even number.
        chunk: tokens of a chunk, a power of two.
        rows: chunks that there is room for.

    Raises:
        ValueError: when a size is impossible.
    """

    def __init__(self, layers: Layers, width: int, heads: int, head_width: int, chunk: int, rows: int) -> None:
        super().__init__()
        if chunk < 2 or chunk & (chunk - 1) or head_width % 2 or rows < 1:
            raise ValueError(
                f"chunks have a power of two of tokens, heads an even width, and there is a row or more, "
                f"not {chunk}, {head_width} and {rows}"
            )
        self.head_width, self.chunk, self.rows, self.capacity = head_width, chunk, rows, rows * chunk
        inner = heads * head_width
        self.query, self.key, self.value = (layers.linear(width, inner, bias=False) for _ in range(3))
        self.gate, self.out_gate = (layers.linear(width, inner, bias=False) for _ in range(2))
        self.output = layers.linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self._whole(x)[0]

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        result, ends = self._whole(x)
        room = x.new_zeros(x.shape[0], self.rows, ends.shape[2])
        rows = torch.cat([ends, room], dim=1)[:, : self.rows]
        # The number of tokens comes from them, so that it is an activation like any other state.
        return result, rows, x[:, 0, :1] * 0 + x.shape[1]

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed tokens, and keys and values at the end of every chunk, shape (n, chunks, 2 * inner)."""
        tokens = x.shape[1]
        means = self._means(x)  # (n, chunks, chunk, 2 * inner)
        ends, chunks = means[:, :, -1], means.shape[1]
        query = self._scaled_query(x)
        keys, values = self._keys_and_values(ends)
        own_keys, own_values = self._keys_and_values(means.flatten(1, 2)[:, :tokens])
        turn = rotation(places(0, chunks, x), self.head_width, BASE)
        each = rotation(places(0, chunks * self.chunk, x)[:tokens] // self.chunk, self.head_width, BASE)
        scores = each(query) @ turn(keys).transpose(2, 3) + self._mask(tokens, chunks, x)
        # A token and its own key are of the same chunk: turning both would change nothing.
        own = (query * own_keys).mean(-1, keepdim=True) * self.head_width
        weights = torch.softmax(torch.cat([scores, own], dim=-1), dim=-1)
        read = weights[..., :-1] @ values + weights[..., -1:] * own_values
        return self._gated(read, x), ends

    def _means(self, x: Tensor) -> Tensor:
        """Keys and values of every token, shape (n, chunks, chunk, 2 * inner). After the last token they stay as they
        are to the end of its chunk."""
        size = self.chunk
        gate, new = self._gates(x)
        count = (x.shape[1] + size - 1) // size
        missing = count * size - x.shape[1]
        added: Tensor = F.pad(new.unsqueeze(1), (0, 0, 0, missing)).squeeze(1).unflatten(1, (count, size))
        kept: Tensor = 1 - F.pad((1 - gate).unsqueeze(1), (0, 0, 0, missing)).squeeze(1).unflatten(1, (count, size))
        # Runs of 1, 2, 4, ... tokens are put together (Hillis and Steele, 1986).
        step = 1
        while step < size:
            added = added + kept * _later(added, step)
            step *= 2
            if step < size:
                kept = kept * _later(kept, step // 2)
        return added

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of the means and what is added to them, both of shape (n, t, 2 * inner)."""
        gate = torch.sigmoid(self.gate(x))
        gate = torch.cat([gate, gate], dim=-1)
        return gate, (1 - gate) * torch.cat([self.key(x), self.value(x)], dim=-1)

    def _scaled_query(self, x: Tensor) -> Tensor:
        return self._heads(self.query(x) * self.head_width**-0.5)

    def _keys_and_values(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        inner = rows.shape[-1] // 2
        return self._heads(rows[..., :inner]), self._heads(rows[..., inner:])

    def _heads(self, x: Tensor) -> Tensor:
        """Shape (n, heads, t, head_width) of (n, t, heads * head_width)."""
        heads: Tensor = x.unflatten(2, (-1, self.head_width)).transpose(1, 2)
        return heads

    def _mask(self, tokens: int, chunks: int, like: Tensor) -> Tensor:
        """What is added to the scores of the ends of chunks, shape (tokens, chunks): only those before count."""
        ends = (places(0, chunks, like) + 1) * self.chunk
        return torch.where(places(0, tokens, like)[:, None] >= ends, 0.0, _UNSEEN)

    def _gated(self, read: Tensor, x: Tensor) -> Tensor:
        gated = read.transpose(1, 2).flatten(2) * torch.sigmoid(self.out_gate(x))
        result: Tensor = self.output(gated)
        return result

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        rows, place = state
        # 1 for the rows whose chunk has begun, and for that of this token alone; all in numbers, which any runtime has.
        starts = places(0, rows.shape[1], x).float() * self.chunk
        begun = F.hardtanh(place - (starts - 1), 0.0, 1.0)
        current = begun - F.hardtanh(place - (starts + (self.chunk - 1)), 0.0, 1.0)
        before = current.unsqueeze(1) @ rows
        gate, added = self._gates(x)
        change = gate * before + added - before
        rows = rows + current.unsqueeze(2) @ change
        keys, values = self._keys_and_values(rows)
        turn = rotation(places(0, rows.shape[1], x), self.head_width, BASE)
        here = Rotation(*((current @ table)[:, None, None] for table in turn))
        scores = here(self._scaled_query(x)) @ turn(keys).transpose(2, 3)
        weights = torch.softmax(scores + ((begun - 1) * -_UNSEEN)[:, None, None], dim=-1)
        return self._gated(weights @ values, x), rows, place + 1

    @staticmethod
    def state_shapes(arguments: Mapping[str, Any], tokens: int) -> tuple[Shape, ...]:
        features = 2 * arguments["heads"] * arguments["head_width"]
        return (1, arguments["rows"], features), (1, 1)


def _later(x: Tensor, tokens: int) -> Tensor:
    """What was so many tokens before in each chunk, zeros at its start; shape (n, chunks, chunk, features)."""
    return F.pad(x[:, :, :-tokens], (0, 0, tokens, 0))
