"""Architecture parameters: a probability for every option of every choice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.training.strategy import Cost
from search_spaces import SearchSpace
from search_spaces.space import Codes


class Distribution:
    """Independent categorical distributions over the options of each choice, by their logits (architecture parameters).

    It begins as the uniform one.

    Args:
        space: of the networks.

    Attributes:
        logits: of the options of each choice, in the order of `space.choices`.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.logits = [nn.Parameter(torch.zeros(len(choice.options))) for choice in space.choices]

    def probabilities(self) -> list[Tensor]:
        """Of the options of each choice; gradients flow to the logits."""
        return [logits.softmax(0) for logits in self.logits]

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Canonical codes of `n` drawn networks, shape (n, choices)."""
        return self.space.canonical(self._draw(n, rng))

    def _draw(self, n: int, rng: np.random.Generator) -> Codes:
        columns = [rng.choice(len(p), size=n, p=p) for p in map(_normalised, self.probabilities())]
        return np.stack(columns, axis=1).astype(np.int64)

    def mode(self) -> Codes:
        """Canonical codes of the network whose choices are the most probable ones, shape (1, choices)."""
        return self.space.canonical(np.array([[int(logits.argmax()) for logits in self.logits]]))

    def log_probability(self, codes: Codes, columns: list[int]) -> Tensor:
        """Of those choices in `columns` that have an effect in one network, as a scalar.

        Args:
            codes: canonical, shape (choices,).
            columns: numbers of choices.
        """
        active = self.space.active(codes[None])[0]
        terms = [self.logits[c].log_softmax(0)[int(codes[c])] for c in columns if active[c]]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def expected(self, cost: Cost, samples: int, rng: np.random.Generator) -> Tensor:
        """The expected cost of a network, as a scalar whose gradient is an unbiased estimate.

        The expectation is linear in the probabilities of each choice; the factor of an option is the expected cost of
        networks that have it. It is estimated by giving that option to drawn networks: so any predictor will do, it
        need not be differentiable itself, and needs no table of blocks.

        Args:
            cost: of many networks.
            samples: networks that are drawn; `samples` times the number of all options are looked at.
            rng: of the draws.
        """
        drawn = self._draw(samples, rng)
        changed = [
            _with(drawn, column, option)
            for column, choice in enumerate(self.space.choices)
            for option in range(len(choice.options))
        ]
        values = cost(self.space.canonical(np.concatenate([drawn, *changed]))).reshape(-1, samples).mean(axis=1)
        factors = torch.tensor(values[1:], dtype=torch.float32).split([len(logits) for logits in self.logits])
        slopes = [(p - p.detach()) @ factor for p, factor in zip(self.probabilities(), factors, strict=True)]
        return torch.stack(slopes).sum() + float(values[0])


def _normalised(probabilities: Tensor) -> NDArray[np.float64]:
    """As numbers of double precision whose sum is 1 to the accuracy that numpy wants."""
    p = probabilities.detach().double().numpy()
    return np.asarray(p / p.sum())


def _with(codes: Codes, column: int, option: int) -> Codes:
    changed = codes.copy()
    changed[:, column] = option
    return changed
