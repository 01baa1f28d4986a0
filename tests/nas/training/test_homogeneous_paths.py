"""Paths whose layers are alike: how often, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from nas.training.paths import HomogeneousPaths, repeated_choices
from search_spaces import Choice, SearchSpace

LAYERS, KINDS = 4, 3
DRAWS = 40_000


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    layers = [Choice(f"layer{i}_kind", tuple("abc")[:KINDS], ordered=False) for i in range(1, LAYERS + 1)]
    return SearchSpace("layers", (Choice("width", (8, 16)), *layers, Choice("layer1_heads", (1, 2))), ())


def test_choices_of_layers_are_repeated_ones(space: SearchSpace) -> None:
    assert repeated_choices(space) == [[1, 2, 3, 4]]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_networks_of_one_kind_are_as_many_as_they_should(space: SearchSpace, share: float) -> None:
    """Beside those without a mixture: the two options are equal, or all layers take the same of two (the integral of
    r^n + (1 - r)^n over the probability r)."""
    mixtures = 1 / KINDS + (1 - 1 / KINDS) * 2 / (LAYERS + 1)
    expected = share * (0.5 + 0.5 * mixtures) + (1 - share) * KINDS ** (1 - LAYERS)
    codes = HomogeneousPaths(share).sample(space, DRAWS, np.random.default_rng(0))
    kinds = codes[:, 1 : 1 + LAYERS]
    found = (kinds == kinds[:, :1]).all(axis=1).mean()
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / DRAWS))
    assert np.bincount(kinds[:, 0], minlength=KINDS) / DRAWS == pytest.approx(1 / KINDS, abs=0.02)
    assert np.bincount(codes[:, 0]) / DRAWS == pytest.approx(1 / 2, abs=0.02)


def test_homogeneous_networks_have_two_kinds_at_most(space: SearchSpace) -> None:
    codes = HomogeneousPaths(1.0).sample(space, 500, np.random.default_rng(0))
    assert max(len(set(row)) for row in codes[:, 1 : 1 + LAYERS].tolist()) == 2
