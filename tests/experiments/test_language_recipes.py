"""The ways of training that `experiments.hybrid_slm.recipes` compares."""

from __future__ import annotations

import pytest

from experiments.hybrid_slm.recipes import CONFIG, RECIPES, changes, table
from nas.config import load
from nas.training.optimizer import make_optimizer
from search_spaces.slm.space import hybrid_slm


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_is_a_way_of_training_of_its_own(recipe: str) -> None:
    made = {name: load(CONFIG, changes(name)).training for name in RECIPES}
    assert [name for name, training in made.items() if training == made[recipe]] == [recipe]
    small = hybrid_slm(
        vocabulary=16, widths=[16], depths=[1], heads=1, kv_heads=[1], states=[4], windows=[4], ratios=[1]
    )
    make_optimizer(small.build_supernet(), made[recipe])  # an unknown parameter would be an error


def test_the_chosen_one_is_among_them() -> None:
    assert load(CONFIG).training in [load(CONFIG, changes(name)).training for name in RECIPES]


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
