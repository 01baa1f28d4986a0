"""A light predictor of the losses of networks, learned while they are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces import SearchSpace
from search_spaces.space import Codes


class LossPredictor:
    """Ridge regression of losses on one-hot codes, with exponential forgetting, since losses fall in training.

    It keeps weighted sums of products of its inputs, not the observations; a prediction solves for the coefficients.

    Args:
        forgetting: the weight of an observation is multiplied by this with each later one.
        penalty: of the squared coefficients, the intercept left out.
    """

    def __init__(self, forgetting: float = 0.998, penalty: float = 1.0) -> None:
        self.forgetting, self.penalty = forgetting, penalty
        self._products = np.zeros((0, 0))
        self._moments = np.zeros(0)

    def observe(self, space: SearchSpace, codes: Codes, losses: Sequence[float]) -> None:
        """Learn the losses of networks with canonical `codes`, shape (n, number of choices), the latest last."""
        inputs = _one_hot(space, codes)
        if not self._moments.size:
            self._products, self._moments = np.zeros((inputs.shape[1],) * 2), np.zeros(inputs.shape[1])
        weights = self.forgetting ** np.arange(len(codes) - 1, -1, -1.0)
        kept = self.forgetting ** len(codes)
        self._products = kept * self._products + (inputs.T * weights) @ inputs
        self._moments = kept * self._moments + inputs.T @ (weights * np.asarray(losses, dtype=np.float64))

    def predict(self, space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
        """Losses of networks with canonical `codes`, shape (n,); all 0 before the first observation."""
        if not self._moments.size:
            return np.zeros(len(codes))
        penalties = np.full(self._moments.size, self.penalty)
        penalties[0] = 0.0
        coefficients = np.linalg.solve(self._products + np.diag(penalties), self._moments)
        return np.asarray(_one_hot(space, codes) @ coefficients)

    def state(self) -> dict[str, Any]:
        """What was learned, as `Strategy.state`."""
        return {"products": torch.from_numpy(self._products.copy()), "moments": torch.from_numpy(self._moments.copy())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; `KeyError` when it is something else."""
        products, moments = state["products"], state["moments"]
        self._products, self._moments = products.numpy().copy(), moments.numpy().copy()


def _one_hot(space: SearchSpace, codes: Codes) -> NDArray[np.float64]:
    """A column of ones, then one for each option of each choice, shape (n, 1 + number of options)."""
    options = [len(choice.options) for choice in space.choices]
    first = np.cumsum([1, *options[:-1]])
    inputs = np.zeros((len(codes), 1 + sum(options)))
    inputs[:, 0] = 1.0
    inputs[np.arange(len(codes))[:, None], first + codes] = 1.0
    return inputs
