"""Between Optuna's parameters and the integer codes of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from search_spaces import SearchSpace
from search_spaces.space import Codes


def distributions(space: SearchSpace) -> dict[str, CategoricalDistribution]:
    """Optuna's description of the space's choices."""
    return {choice.name: CategoricalDistribution(choice.options) for choice in space.choices}


def trial_codes(space: SearchSpace, params: Mapping[str, Any]) -> Codes:
    """Canonical codes, shape (1, number of choices), of a trial's parameters."""
    row = [choice.index(params[choice.name]) for choice in space.choices]
    return space.canonical(np.array([row], dtype=np.int64))
