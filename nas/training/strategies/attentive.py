"""Attentive sampling (AttentiveNAS, Wang et al., CVPR 2021): train the networks that a search will ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.training.loss_predictor import LossPredictor
from nas.training.paths import UniformPaths
from nas.training.strategies.sandwich import Sandwich
from search_spaces import SearchSpace
from search_spaces.space import Codes

POOL = 128
STEEPEST = 10.0

_PICK: Mapping[str, Callable[[NDArray[np.float64]], np.intp]] = MappingProxyType(
    {"best": np.argmin, "worst": np.argmax, "none": lambda losses: np.intp(0)}
)


class AttentivePaths(UniformPaths):
    """Draws a cost, uniform between those of the smallest and the largest network; then, among the networks that come
    near to it, takes the one with the best or the worst predicted loss.

    Networks drawn uniformly over the options have nearly all the same cost. Here the options of each network that is
    looked at lean to the cheap or the expensive side, by a degree of its own: so there are some of every cost.

    Args:
        mode: `best` and `worst` (BestUp and WorstUp in the paper), or `none` to draw by cost alone.
        candidates: how many of the `POOL` networks that are looked at come near enough.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(self, mode: str = "best", candidates: int = 8) -> None:
        if mode not in _PICK:
            raise ValueError(f"mode is {mode!r}, give one of {', '.join(_PICK)}")
        if not 1 <= candidates <= POOL:
            raise ValueError(f"candidates is {candidates}, give a number from 1 to {POOL}")
        self.candidates, self._pick = candidates, _PICK[mode]
        self.predictor = LossPredictor()

    def sample(self, space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
        ends = space.codes([space.smallest(), space.largest()])
        low, high = space.macs(ends)
        pool = _leaning_codes(space, POOL, rng)
        costs = space.macs(pool)
        predicted = self.predictor.predict(space, pool)
        picked = []
        for target in rng.uniform(low, high, size=n):
            near = np.argsort(abs(costs - target), kind="stable")[: self.candidates]
            picked.append(near[self._pick(predicted[near])])
        return pool[np.array(picked, dtype=np.intp)]

    def observe(self, space: SearchSpace, codes: Codes, losses: Sequence[float]) -> None:
        self.predictor.observe(space, codes, losses)

    def state(self) -> dict[str, Any]:
        return self.predictor.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.predictor.restore(state)


class Attentive(Sandwich):
    """The sandwich rule with `AttentivePaths` between its smallest and its largest network.

    The predictor learns from the losses of the networks that were trained, so that it needs no validation and costs
    no forward pass.

    Args:
        random_paths: how many sampled networks each step trains.
        mode: `best`, `worst`, or `none` to draw by cost alone.
        candidates: how many networks near the drawn cost the predictor chooses among.
        distillation: `soft` targets, or `alpha` for AlphaNet's clipped divergence.
        distillation_weight: share of the distillation in the loss of the smaller networks; the labels have the rest.

    Raises:
        ValueError: when an option is out of its range.
    """

    def __init__(
        self,
        random_paths: int = 2,
        mode: str = "best",
        candidates: int = 8,
        distillation: str = "soft",
        distillation_weight: float = 1.0,
    ) -> None:
        super().__init__(random_paths, distillation, distillation_weight)
        self.sampler = AttentivePaths(mode, candidates)


def _leaning_codes(space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
    """Canonical codes of `n` networks; within one, the probability of an option is exponential in its position.

    Independent draws that are given their sum are distributed in this way, at least when there are many.
    """
    slope = rng.uniform(-STEEPEST, STEEPEST, size=(n, 1))
    uniform = rng.random((n, len(space.choices)))
    position = (
        np.log1p(uniform * np.expm1(slope)) / slope
    )  # in [0, 1), of density proportional to exp(slope * position)
    options = np.array([len(choice.options) for choice in space.choices])
    return space.canonical(np.clip((position * options).astype(np.int64), 0, options - 1))
