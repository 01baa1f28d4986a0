"""What stands around the mixers of a language model: normalisation and sum, embedding, and head.

Normalisation comes first in every block. Phases run methods: whole sequences `forward` (all of them, in training) or
`prefill` (a prompt, of which only the last logits are wanted), the next token `step`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search_spaces.layers import Layers
from search_spaces.slm.initialisation import DEVIATION, initialise
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.unit_norm import UnitNorm, unit_norms


class MixerBlock(nn.Module):
    """A mixer of normalised tokens; the input is added. Subclasses say which mixer.

    Args:
        layers: makes the layers.
        width: of a token.
        residuals: sums of the deepest network, see `initialise`.
        epsilon: of the normalisation.
        arguments: of the mixer.

    Attributes:
        kind: class of the mixer.
    """

    kind: ClassVar[type[Mixer]]

    def __init__(self, layers: Layers, width: int, residuals: int, epsilon: float, **arguments: Any) -> None:
        super().__init__()
        self.norm = layers.rms_norm(width, epsilon)
        self.mixer = self.kind(layers, width, **arguments)
        initialise(self, residuals)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, t, width), as `x` has."""
        result: Tensor = x + self.mixer(self.norm(x))
        return result

    def prefill(self, x: Tensor) -> tuple[Tensor, ...]:
        """The same, then the state of the mixer."""
        mixed, *state = self.mixer.prefill(self.norm(x))
        return (x + mixed, *state)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next token of each sequence, shape (n, 1, width), then the new state of the mixer."""
        mixed, *new = self.mixer.step(self.norm(x), *state)
        return (x + mixed, *new)

    def unit_norms(self) -> list[UnitNorm]:
        """What weight normalisation keeps at length one."""
        return unit_norms(self)


class Embedding(nn.Module):
    """Rows of a table, after learned tokens that come before every sequence.

    Such meta tokens are what all others can look at (Dong et al., "Hymba: A hybrid-head architecture for small language
    models", ICLR 2025; Fu et al., "Nemotron-Flash", NeurIPS 2025).

    Args:
        layers: makes the layers.
        vocabulary: number of tokens.
        width: of a row.
        meta_tokens: learned tokens before every sequence; 0 or more.
    """

    def __init__(self, layers: Layers, vocabulary: int, width: int, meta_tokens: int) -> None:
        super().__init__()
        self.table = layers.embedding(vocabulary, width)
        self.meta = layers.parameter(1, meta_tokens, width)
        nn.init.normal_(self.table.get_parameter("weight"), std=DEVIATION)
        nn.init.normal_(self.meta.weight, std=DEVIATION)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape (n, meta tokens + t, width) of numbers of tokens, shape (n, t)."""
        rows: Tensor = self.table(tokens)
        meta = self.meta()
        return rows if meta.shape[1] == 0 else torch.cat([meta.expand(tokens.shape[0], -1, -1), rows], dim=1)

    def step(self, tokens: Tensor) -> Tensor:
        """Shape (n, 1, width) of the next token of each sequence."""
        rows: Tensor = self.table(tokens)
        return rows


class Head(nn.Module):
    """Logits of normalised tokens.

    Args:
        layers: makes the layers.
        width: of a token.
        vocabulary: number of tokens.
        meta_tokens: that come before every sequence, and have no logits.
        tied: whether the table of the embedding is read (Press & Wolf, "Using the output embedding to improve language
            models", EACL 2017); otherwise there is a weight of its own.
        epsilon: of the normalisation.
    """

    def __init__(
        self, layers: Layers, width: int, vocabulary: int, meta_tokens: int, tied: bool, epsilon: float
    ) -> None:
        super().__init__()
        self.meta_tokens = layers.size(meta_tokens)
        self.norm = layers.rms_norm(width, epsilon)
        self.linear = layers.tied_linear(width, vocabulary) if tied else layers.linear(width, vocabulary, bias=False)
        if not tied:
            nn.init.normal_(self.linear.get_parameter("weight"), std=DEVIATION)

    def forward(self, x: Tensor) -> Tensor:
        """Of all tokens but meta tokens, shape (n, t, vocabulary)."""
        return self.step(x[:, self.meta_tokens.value :])

    def prefill(self, x: Tensor) -> Tensor:
        """Of the last token only, shape (n, 1, vocabulary)."""
        return self.step(x[:, -1:])

    def step(self, x: Tensor) -> Tensor:
        """Of every token, shape (n, 1, vocabulary)."""
        logits: Tensor = self.linear(self.norm(x))
        return logits
