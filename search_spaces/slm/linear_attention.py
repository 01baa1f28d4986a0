"""Linear attention: one recurrence for eight kinds of mixers, in three forms that agree.

Each head holds a state S, a matrix of shape (K, V), and at every token, with query q, key k (rows of K numbers) and
value v (a row of V numbers),

    S <- diag(e^g) S,    S <- S + k' u,    o = q S,    u = v  or  u = beta (v - k S)

with the decay g <= 0 (one number, or one for each key dimension) and the rate beta. The four rules of the operator
`LinearAttention` of ONNX are the combinations of what is given: `linear` (neither), `gated` (a decay; Mamba2, RetNet,
gated linear attention), `delta` (a rate; DeltaNet) and `gated_delta` (both; Gated DeltaNet). The query is not scaled.

* `linear_attention` is for training. Tokens are taken in chunks; inside a chunk everything is a product of matrices
  (Yang et al., "Gated Linear Attention Transformers", ICML 2024; Dao and Gu, "Transformers are SSMs", ICML 2024; with
  rates Yang et al., "Parallelizing Linear Transformers with the Delta Rule", NeurIPS 2024).
* `linear_attention_of_prompt` gives the same without loops over chunks and without a triangular solver, so that it
  can be exported with a dynamic length.
* `linear_attention_step` is the recurrence.

Shapes: queries and keys (n, heads, t, K), values (n, heads, t, V), decays (n, heads, t, 1) or (n, heads, t, K), rates
(n, heads, t, 1), states (n, heads, K, V). Dimensions of size 1 are repeated where they differ, such as the heads of a
query that all heads share. Decays are added up, and states held, in float32 or better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: Tokens of a chunk; with a decay for each key dimension; and then, in training, of the blocks that a chunk is divided into.
CHUNK, CHUNK_PER_KEY, BLOCK = 32, 16, 4

#: Tokens of the blocks that `linear_attention_of_prompt` solves at once, for rules with a rate.
SOLVED = 8

#: How often `linear_attention_of_prompt` doubles the number of chunks that it has put together, for rules with a rate.
DOUBLINGS = 7

#: The longest prompt of rules with a rate.
LONGEST_PROMPT = CHUNK << DOUBLINGS

Attended = tuple[Tensor, Tensor]


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
) -> Attended:
    """Outputs, shape (n, heads, t, V), and the state after the last token, for any number of tokens; see the module.

    Args:
        state: before the first token; nothing when it is not given.
        decay: logarithm of the factors of the state, 0 or less.
        beta: rate of the delta rule.
    """
    return _in_chunks(q, k, v, state, decay, beta, _Form(_FadingPerKeyInBlocks, _solve, _one_after_the_other))


def linear_attention_of_prompt(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None = None, beta: Tensor | None = None
) -> Attended:
    """The same from an empty state by operators that export with a dynamic length.

    Raises:
        ValueError: when there is a rate and the prompt is longer than `LONGEST_PROMPT` (half of it with a decay for each
            key dimension). An exported model does not check it.
    """
    return _in_chunks(q, k, v, None, decay, beta, _Form(_FadingPerKey, _solve_by_products, _by_doubling))


def linear_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None = None, beta: Tensor | None = None
) -> Attended:
    """The output of one token, shape (n, heads, 1, V), and the new state; arguments as of `linear_attention`."""
    state = _wide(state)
    if decay is not None:
        state = state * torch.exp(_wide(decay)).transpose(-1, -2)
    added = v if beta is None else (v - k @ state) * beta
    state = state + k.transpose(-1, -2) * added
    return q @ state, state


class _Chunks(NamedTuple):
    """What links chunks when there is a rate: the state S at the start of one becomes
    `total S + keys (values - readings S)` at its end.

    Attributes:
        total: factor of the state over each chunk, shape (n, heads, chunks, 1 or K, 1).
        keys: faded to the end of their chunk, shape (n, heads, chunks, K, size).
        values: that would be added to an empty state.
        readings: rows with which the state is read.
    """

    total: Tensor
    keys: Tensor
    values: Tensor
    readings: Tensor


class _Form(NamedTuple):
    """What differs between training and export.

    Attributes:
        per_key: how a state fades that has a decay for each key dimension.
        solve: for rules with a rate, x of `(1 + lower) x = right`, of strictly lower triangles and right sides.
        link: for rules with a rate, states at the start of all chunks, shape (n, heads, chunks, K, V), and after the last one.
    """

    per_key: type[_FadingPerKey]
    solve: Callable[[Tensor, Tensor], Tensor]
    link: Callable[[_Chunks, Tensor], Attended]


def _in_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None,
    decay: Tensor | None,
    beta: Tensor | None,
    form: _Form,
) -> Attended:
    tokens = q.shape[2]
    fading = _fading(decay, q, form.per_key)
    q, k, v = (_split(x, fading.size) for x in (q, k, v))
    if state is None:
        heads = max(x.shape[1] for x in (q, k, v, fading.log))
        state = torch.zeros(v.shape[0], heads, k.shape[-1], v.shape[-1], dtype=fading.log.dtype, device=v.device)
    state, faded_keys = _wide(state), fading.to_end(k).transpose(-1, -2)
    if beta is None:
        ends = fading.sums(torch.cat([state.unsqueeze(2), _wide(faded_keys @ v)], dim=2))
        starts, last = ends[:, :, :-1], ends[:, :, -1]
    else:
        beta = _split(beta, fading.size)
        read = k * beta
        lower = fading.scores(read, k).tril(-1)
        right = torch.cat([v * beta, fading.from_start(read)], dim=-1)
        solved = form.solve(_wide(lower), _wide(right))
        values, readings = solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]
        starts, last = form.link(_Chunks(fading.total(), _wide(faded_keys), values, readings), state)
        v = values - readings @ starts
    outputs = fading.from_start(q) @ starts + fading.scores(q, k) @ v
    return outputs.flatten(2, 3)[:, :, :tokens], last


def _split(x: Tensor, size: int) -> Tensor:
    """In chunks of `size` tokens, the last one filled up with zeros; shape (n, heads, chunks, size, features)."""
    chunks = (x.shape[2] + size - 1) // size
    padded: Tensor = F.pad(x, (0, 0, 0, chunks * size - x.shape[2]))
    result: Tensor = padded.unflatten(2, (chunks, size))
    return result


def _blocks(x: Tensor) -> Tensor:
    """Chunks in blocks, shape (n, heads, chunks, blocks, BLOCK, features)."""
    result: Tensor = x.unflatten(3, (x.shape[3] // BLOCK, BLOCK))
    return result


def _wide(x: Tensor) -> Tensor:
    """In float32, or in what it is when that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# ------------------------------------------------------------------- decays


class _Fading:
    """How the state fades, the same for all its key dimensions.

    Args:
        decay: shape (n, heads, t, 1).

    Attributes:
        size: of a chunk.
        log: of the factor from the start of the chunk to each of its tokens, shape (n, heads, chunks, size, 1).
        between: factor from every token of a chunk to every later one, 0 to earlier ones.
    """

    size = CHUNK

    def __init__(self, decay: Tensor) -> None:
        self.log = _split(_wide(decay), self.size).cumsum(3)
        self.between = _factors(self.log - self.log.transpose(-1, -2))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Products of every query with the keys before it and its own, faded; shape (n, heads, chunks, size, size)."""
        return (q @ k.transpose(-1, -2)) * self.between

    def from_start(self, q: Tensor) -> Tensor:
        """What reads the state at the start of the chunk as `q` reads the faded one."""
        return q * torch.exp(self.log)

    def to_end(self, k: Tensor) -> Tensor:
        """Keys as the end of the chunk sees them."""
        return k * torch.exp(self.log[:, :, :, -1:] - self.log)

    def total(self) -> Tensor:
        """Factor of the state over each chunk, shape (n, heads, chunks, 1 or K, 1)."""
        return torch.exp(self.log[:, :, :, -1]).unsqueeze(-1)

    def sums(self, added: Tensor) -> Tensor:
        """States after 0, 1, 2, ... chunks of what each chunk adds to the state, the first one being what there was
        before; shape (n, heads, chunks + 1, K, V)."""
        log = F.pad(self.log[:, :, :, -1], (0, 0, 1, 0)).cumsum(2)
        between = _factors(log - log.transpose(-1, -2))
        result: Tensor = _wide(between @ added.flatten(3)).unflatten(3, added.shape[3:])
        return result


class _Unfading(_Fading):
    """No decay: what multiplies by 1 is left out."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.transpose(-1, -2)).tril()

    def from_start(self, q: Tensor) -> Tensor:
        return q

    def to_end(self, k: Tensor) -> Tensor:
        return k

    def sums(self, added: Tensor) -> Tensor:
        return added.cumsum(2)


class _FadingPerKey(_Fading):
    """Each key dimension fades by itself: `decay` and `log` have K numbers for a token."""

    size = CHUNK_PER_KEY

    def __init__(self, decay: Tensor) -> None:
        self.log = _split(_wide(decay), self.size).cumsum(3)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        between = torch.exp(self.log.unsqueeze(-2) - self.log.unsqueeze(-3) + self._never().triu(1).unsqueeze(-1))
        return ((k.unsqueeze(-3) * between) @ q.unsqueeze(-1)).squeeze(-1)

    def _never(self) -> Tensor:
        """Logarithms of the factor 0, one for each pair of tokens of a chunk."""
        return torch.full((self.size, self.size), -torch.inf, dtype=self.log.dtype, device=self.log.device)

    def sums(self, added: Tensor) -> Tensor:
        log = F.pad(self.log[:, :, :, -1], (0, 0, 1, 0)).cumsum(2).transpose(2, 3)
        between = _factors(log.unsqueeze(-1) - log.unsqueeze(-2))
        return _wide(between @ added.transpose(2, 3)).transpose(2, 3)


class _FadingPerKeyInBlocks(_FadingPerKey):
    """The same with half as many exponentials and more operators, which would make exported graphs larger."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """As of `_Fading`. Queries of a block, faded from its start, read keys of earlier blocks, faded to there, by a product
        of matrices in which no factor is above 1; keys of their own block have a factor for each pair."""
        log, queries, keys = (_blocks(x) for x in (self.log, q, k))
        start = torch.cat([torch.zeros_like(log[..., :1, :1, :]), log[..., :-1, -1:, :]], dim=3)
        never = self._never()
        faded = k.unsqueeze(3) * torch.exp(start - self.log.unsqueeze(3) + never.triu()[::BLOCK].unsqueeze(-1))
        earlier = (queries * torch.exp(log - start)) @ faded.transpose(-1, -2)
        later = never.triu(1)[:BLOCK, :BLOCK].unsqueeze(-1)
        between = torch.exp(log.unsqueeze(-2) - log.unsqueeze(-3) + later)
        own = (queries.unsqueeze(-2) * keys.unsqueeze(-3) * between).sum(-1)
        places = torch.eye(log.shape[3], dtype=own.dtype, device=own.device).unsqueeze(-1).unsqueeze(1)
        return (earlier + (own.unsqueeze(-2) * places).flatten(-2)).flatten(3, 4)


def _fading(decay: Tensor | None, like: Tensor, per_key: type[_FadingPerKey]) -> _Fading:
    if decay is None:
        return _Unfading(torch.zeros(1, 1, like.shape[2], 1, dtype=like.dtype, device=like.device))
    return _Fading(decay) if decay.shape[-1] == 1 else per_key(decay)


def _factors(differences: Tensor) -> Tensor:
    """Exponentials below and on the diagonal, 0 above it, where they would overflow."""
    return torch.exp(differences.tril()).tril()


# ------------------------------------------------------ rules with a rate


def _solve(lower: Tensor, right: Tensor) -> Tensor:
    result: Tensor = torch.linalg.solve_triangular(lower, right, upper=False, unitriangular=True)
    return result


def _solve_by_products(lower: Tensor, right: Tensor) -> Tensor:
    """As `_solve`, one block of tokens after the other. Of a block, with x = -lower, whose power of its size is 0,
    `1 / (1 - x) = (1 + x) (1 + x^2) (1 + x^4) ...`; the 1 is left out of the product.

    Not of a whole chunk: where all keys are alike, the terms of that series grow with the binomials of its size, for a
    chunk to more than 10^8, and their sum loses all digits.
    """
    starts = range(0, lower.shape[-1], SOLVED)
    blocks = [lower[..., start : start + SOLVED, start : start + SOLVED] for start in starts]
    power = product = torch.cat([block.unsqueeze(-3) for block in blocks], dim=-3) * -1
    for _ in range(1, (SOLVED - 1).bit_length()):
        power = power @ power
        product = product + power + power @ product
    solved: list[Tensor] = []
    for number, start in enumerate(starts):
        own = right[..., start : start + SOLVED, :]
        if solved:
            own = own - lower[..., start : start + SOLVED, :start] @ torch.cat(solved, dim=-2)
        solved.append(own + product.select(-3, number) @ own)
    return torch.cat(solved, dim=-2)


def _one_after_the_other(chunks: _Chunks, state: Tensor) -> Attended:
    starts = []
    for total, keys, values, readings in zip(*(x.unbind(2) for x in chunks), strict=True):
        starts.append(state)
        state = state * total + keys @ (values - readings @ state)
    return torch.stack(starts, dim=2), state


def _by_doubling(chunks: _Chunks, state: Tensor) -> Attended:
    """From an empty state: every chunk maps the state S affinely to `total S + factor S + added`, and maps of 2, 4, 8, ...
    chunks are put together (Hillis and Steele, 1986). Before the first chunk there is nothing, a map to 0."""
    length, size = chunks.keys.shape[2:4]
    if isinstance(length, int) and length > 1 << DOUBLINGS:  # not so while a model with a free length is exported
        raise ValueError(f"a prompt of at most {(1 << DOUBLINGS) * chunks.keys.shape[-1]} tokens is possible")
    total, maps = chunks.total, torch.cat([chunks.keys @ chunks.readings * -1, chunks.keys @ chunks.values], dim=-1)
    for doubling in range(DOUBLINGS):
        total_before, before = _later(total, 1 << doubling), _later(maps, 1 << doubling)
        factor, added = maps[..., :size], maps[..., size:]
        own = torch.cat([factor * total_before.transpose(-1, -2), added], dim=-1)
        total, maps = total * total_before, own + total * before + factor @ before
    added = maps[..., size:]
    return _later(added, 1), added[:, :, -1]


def _later(x: Tensor, chunks: int) -> Tensor:
    """What was so many chunks before, zeros in the first ones."""
    shape = (x.shape[0], x.shape[1], chunks, x.shape[3], x.shape[4])
    return torch.cat([torch.zeros(shape, dtype=x.dtype, device=x.device), x], dim=2)[:, :, :-chunks]
