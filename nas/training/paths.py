"""Which networks of a space a step of training draws."""

from __future__ import annotations

import re
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


class HomogeneousPaths(UniformPaths):
    """Draws a share of the networks with layers that are alike, the others uniformly.

    Where each of a dozen layers chooses its kind, uniform draws are mixtures; a network of one kind throughout, or
    with many layers left out, is next to never trained, and looks worse in the search than it is. In a homogeneous
    network the choices of the same name but for the number of the layer (`layer3_mixer`, `layer4_mixer`) draw from two
    of their options alone, with a probability between them that is 0 in half of the networks: these have one kind.

    Args:
        share: of the networks that are homogeneous.

    Raises:
        ValueError: when it is no share.
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"homogeneous_share is {share}, give a number from 0 to 1")
        self.share = share

    def sample(self, space: SearchSpace, n: int, rng: np.random.Generator) -> Codes:
        codes = super().sample(space, n, rng)
        if not self.share:
            return codes
        alike = codes.copy()
        for columns in repeated_choices(space):
            options = len(space.choices[columns[0]].options)
            first, second = rng.integers(options, size=(2, n, 1))
            mixing = np.where(rng.random((n, 1)) < 0.5, 0.0, rng.random((n, 1)))
            alike[:, columns] = np.where(rng.random((n, len(columns))) < mixing, second, first)
        return space.canonical(np.where(rng.random((n, 1)) < self.share, alike, codes))


def repeated_choices(space: SearchSpace) -> list[list[int]]:
    """Columns of the choices that are repeated for each layer: of the same options, and of the same name but for the
    numbers in it."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for column, choice in enumerate(space.choices):
        groups.setdefault((re.sub(r"\d+", "#", choice.name), choice.options), []).append(column)
    return [columns for columns in groups.values() if len(columns) > 1]
