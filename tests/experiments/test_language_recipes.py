"""The ways of training that `experiments.hybrid_slm.recipes` compares."""

from __future__ import annotations

from itertools import combinations

import pytest

from experiments.hybrid_slm.recipes import CONFIG, RECIPES, changes, table
from nas.config import load
from nas.training.optimizer import make_optimizer
from nas.training.weight_normalization import weight_normalization
from search_spaces.slm.space import hybrid_slm
from search_spaces.supernet import Supernet


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return hybrid_slm(
        vocabulary=16, widths=[16], depths=[1], heads=1, kv_heads=[1], states=[4], windows=[4], ratios=[1]
    ).build_supernet()


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_can_be_trained_so(recipe: str, supernet: Supernet) -> None:
    training = load(CONFIG, changes(recipe)).training
    make_optimizer(supernet, training)  # an unknown parameter would be an error
    weight_normalization(supernet, training)


def test_no_way_is_there_twice() -> None:
    made = [load(CONFIG, changes(recipe)).training for recipe in RECIPES]
    assert all(one != other for one, other in combinations(made, 2))


def test_table() -> None:
    first, second, *_ = RECIPES
    rows = [
        {"network": "a@1", "recipe": recipe, "bits_per_byte": bits, "recall": recall, "cpu_seconds": 10.0}
        for recipe, bits, recall in ((second, 2.0, 0.5), (first, 1.0, 0.25), (first, 3.0, 0.125))
    ]
    assert table(rows).splitlines()[2:] == [
        f"| a@1 | {first} | 2 | 2.000 ± 1.414 | 25.0, 12.5 | 10 |",
        f"| a@1 | {second} | 1 | 2.000 | 50.0 | 10 |",
    ]
