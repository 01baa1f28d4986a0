"""A stream of tokens as sequences of one length."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.tasks.token_files import TokenArray

NOT_JUDGED = -100
"""The target of a token that is not judged."""


@dataclass(frozen=True)
class TokenSequences:
    """A stream in sequences that do not overlap: each token but the first is a target exactly once.

    Attributes:
        tokens: of the stream, (tokens,).
        length: tokens of a sequence.
        padding: the token that fills up the last sequence.
    """

    tokens: TokenArray
    length: int
    padding: int

    def __len__(self) -> int:
        """The number of sequences; the last one may not be full."""
        return math.ceil((len(self.tokens) - 1) / self.length)

    def at(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences that begin at some tokens of the stream.

        Args:
            starts: numbers of tokens, int64 (n,).

        Returns:
            Inputs int64 (n, length) and targets int64 (n, length), the tokens after them; -100 past the end.
        """
        places = starts[:, None] + torch.arange(self.length + 1)
        inside = places < len(self.tokens)
        read = self.tokens[places.clamp(max=len(self.tokens) - 1).numpy()]
        rows = torch.from_numpy(read.astype(np.int64))
        inputs, targets = torch.where(inside, rows, self.padding), torch.where(inside, rows, NOT_JUDGED)
        return inputs[:, :-1], targets[:, 1:]
