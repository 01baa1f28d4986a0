"""Which networks of a space a step of training draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces import SearchSpace
from search_spaces.space import Codes


class UniformPaths:
    """Draws networks to train, uniformly over the options of each choice; other samplers derive from it.

    All chance comes from the generator that it is given.
    """

    def sample(self, space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
        """Canonical codes of `n` networks, shape (n, number of choices)."""
        return space.random_codes(n, rng)

    def observe(self, space: SearchSpace, codes: Codes, losses: Sequence[float]) -> None:
        """Learn the losses that the drawn networks then had."""

    def state(self) -> dict[str, Any]:
        """What was learned, as `Strategy.state`."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
