"""Generated sequences that only a network with a memory continues correctly: associative recall and selective copying.

Text alone hardly rewards a memory in small networks, so that a search would drift to operators without one. Both
tasks are known to separate operators: multi-query associative recall (Arora et al., Zoology, ICLR 2024), and selective
copying (Jing et al., 2019; Gu and Dao, Mamba, COLM 2024).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.tasks.task import DataError
from nas.tasks.token_sequences import NOT_JUDGED

Tokens = NDArray[np.int64]
Judged = NDArray[np.bool_]

SPANS = (64, 128, 256, 512)
"""Tokens of an episode; all of those that fit are equally frequent."""
SHORTEST = 16
"""Of all sequences and episodes; an episode fills what is shorter than the first of the spans."""


@dataclass(frozen=True)
class Roles:
    """Which tokens of a vocabulary mean what, chosen at random once for a seed. None of them has two meanings.

    Attributes:
        end: begins each episode, as it does a document.
        copy: is followed by the symbols to be copied.
        keys: of pairs.
        values: of pairs, and the symbols to be copied.
        fillers: mean nothing.
    """

    end: int
    copy: int
    keys: Tokens
    values: Tokens
    fillers: Tokens

    @classmethod
    def of(cls, vocabulary: int, end: int, symbols: int, seed: int) -> "Roles":
        """Roles with as many keys as values.

        Raises:
            DataError: the vocabulary has too few tokens.
        """
        fewest = 2 * symbols + 3
        if vocabulary < fewest:
            raise DataError(f"vocabulary is {vocabulary}, sequences of recall so long need at least {fewest} tokens")
        order = np.random.default_rng(seed).permutation(vocabulary - 1)
        order += order >= end
        copy, keys, values, fillers = np.split(order, [1, 1 + symbols, 1 + 2 * symbols])
        return cls(end, int(copy[0]), keys, values, fillers)


class Recall:
    """Sequences of episodes. An episode is one of two kinds, equally frequent:

    * associative recall: the end of documents, pairs of a key and a value, then keys of these pairs in any order, each
      followed by its value, with fillers between them; judged are the values after the first time;
    * selective copying: the end of documents, symbols among fillers, the token that asks for a copy, and the symbols in
      their order, which are judged.

    A sixteenth to an eighth of an episode are pairs, or an eighth to a quarter are symbols. Without a memory the best
    that a network can do is to guess one of the ``symbols`` values.

    Args:
        vocabulary: number of tokens.
        end: the token between documents.
        length: of the sequences, at least 16.
        span: of the longest episodes, in tokens, at least 16. A shorter one has fewer pairs, and there are fewer values, so
            that networks learn sooner.
        seed: decides which token means what.

    Raises:
        DataError: the vocabulary is too small, or the length or the span is.

    Attributes:
        roles: which token means what.
        spans: possible lengths of an episode, in tokens.
    """

    def __init__(self, vocabulary: int, end: int, length: int, span: int = SPANS[-1], seed: int = 0) -> None:
        longest = min(length, span)
        if longest < SHORTEST:
            what = "sequences" if length < SHORTEST else "episodes"
            raise DataError(f"{what} of recall have {longest} tokens, give at least {SHORTEST}")
        self.length = length
        self.spans = tuple(span for span in SPANS if span <= longest) or (longest,)
        self.roles = Roles.of(vocabulary, end, max(16, 3 * self.spans[-1] // 16), seed)

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sequences that the generator alone decides: tokens int64 (n, t), targets int64 (n, t), -100 = not judged."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        rows = [self._sequence(rng) for _ in range(count)]
        tokens, judged = (torch.from_numpy(np.stack(parts)) for parts in zip(*rows, strict=True))
        targets = torch.full_like(tokens, NOT_JUDGED)
        targets[:, :-1] = torch.where(judged[:, 1:], tokens[:, 1:], NOT_JUDGED)
        return tokens, targets

    def _sequence(self, rng: np.random.Generator) -> tuple[Tokens, Judged]:
        """Tokens and whether each one is an answer, both (t,): as many episodes of one span as fit, then fillers."""
        span = self.spans[rng.integers(len(self.spans))]
        kinds = (self._associative, self._copying)
        episodes = [kinds[rng.integers(2)](span, rng) for _ in range(self.length // span)]
        rest = rng.choice(self.roles.fillers, self.length % span)
        tokens = np.concatenate([*(tokens for tokens, _ in episodes), rest])
        judged = np.concatenate([*(judged for _, judged in episodes), np.zeros(len(rest), np.bool_)])
        return tokens, judged

    def _associative(self, span: int, rng: np.random.Generator) -> tuple[Tokens, Judged]:
        pairs = int(rng.integers(span // 16, span // 8, endpoint=True))
        keys = rng.choice(self.roles.keys, pairs, replace=False)
        values = rng.choice(self.roles.values, pairs)
        rest = span - 1 - 2 * pairs
        asked = _questions(pairs, rest // 4, rng)
        # The rest is a row of units: a question of two tokens, or a filler of one.
        is_question = rng.permutation(rest - len(asked)) < len(asked)
        starts = (np.cumsum(1 + is_question) - 2)[is_question]
        later = rng.choice(self.roles.fillers, rest)
        later[starts], later[starts + 1] = keys[asked], values[asked]
        judged = np.zeros(span, np.bool_)
        judged[1 + 2 * pairs + starts + 1] = True
        return np.concatenate([[self.roles.end], np.stack([keys, values], 1).ravel(), later]), judged

    def _copying(self, span: int, rng: np.random.Generator) -> tuple[Tokens, Judged]:
        count = rng.integers(span // 8, span // 4, endpoint=True)
        symbols = rng.choice(self.roles.values, count)
        before = rng.choice(self.roles.fillers, span - 2 - count)
        before[np.sort(rng.permutation(len(before))[:count])] = symbols
        judged = np.zeros(span, np.bool_)
        judged[-count:] = True
        return np.concatenate([[self.roles.end], before, [self.roles.copy], symbols]), judged


def _questions(pairs: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of pairs in random order, each as often as the others, give or take one."""
    rounds = -(-count // pairs)
    return np.concatenate([rng.permutation(pairs) for _ in range(rounds)])[:count]
