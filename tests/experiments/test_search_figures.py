"""Figures of searches, against cases worked out by hand, brute force and numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from experiments.search_quality.benchmark import figures
from experiments.search_quality.figures import at, evaluations_to, growth, quantile, spread
from experiments.search_quality.searches import Trace
from experiments.search_quality.synthetic import CHOICES, OPTIONS, Slots, make
from experiments.search_quality.task import Task, references
from nas.search.pareto import nondominated
from search_spaces import SearchSpace

#: The front of a hand-made case: accuracies 90 and 80 at costs 2 and 1. Towards (75, 4) it dominates
#: (90 - 75) * (4 - 2) + (80 - 75) * (2 - 1) = 35.
FRONT = np.array([[-90.0, 2.0], [-80.0, 1.0]])
REFERENCE = np.array([-75.0, 4.0])
#: Evaluations: outside the region; (80, 3) dominates 5; (80, 1) 15; (70, 0.5) none; (90, 2) all.
VALUES = np.array([[-60.0, 1.0], [-80.0, 3.0], [-80.0, 1.0], [-70.0, 0.5], [-90.0, 2.0], [-85.0, 3.0]])


def test_growth_of_a_case_worked_out_by_hand() -> None:
    shares = growth(VALUES, FRONT, REFERENCE)
    np.testing.assert_allclose(shares, np.array([0, 5, 15, 15, 35, 35]) / 35)
    assert [evaluations_to(shares, share) for share in (0.1, 0.4, 0.95, 1.0)] == [2, 3, 5, 5]
    assert evaluations_to(shares[:4], 0.95) == math.inf


def test_growth_is_optunas_hypervolume_after_every_evaluation() -> None:
    rng = np.random.default_rng(0)
    values, reference = rng.standard_normal((60, 2)), np.array([0.5, 1.0])
    front = values[nondominated(values)] - 0.1
    expected = []
    for n in range(1, 61):
        inside = values[:n][(values[:n] < reference).all(axis=1)]
        expected.append(compute_hypervolume(inside, reference) if len(inside) else 0.0)
    ideal = compute_hypervolume(front[(front < reference).all(axis=1)], reference)
    np.testing.assert_allclose(growth(values, front, reference), np.array(expected) / ideal)


def test_quantiles_are_numpys_unless_infinite() -> None:
    numbers = np.random.default_rng(1).permutation(20).astype(float).tolist()
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        assert quantile(numbers, share) == pytest.approx(np.quantile(numbers, share))
    inf = math.inf
    assert spread([5, inf, 1, 3, inf]) == {"median": 5, "q25": 3, "q75": None, "reached": 3}
    assert spread([5, 1, inf, inf]) == {"median": None, "q25": 4, "q75": None, "reached": 2}
    assert spread([7]) == {"median": 7, "q25": 7, "q75": 7, "reached": 1}


def test_shares_after_so_many_evaluations() -> None:
    runs = [np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.4]), np.array([0.2, 0.3, 0.9])]
    assert at(runs, (1, 3)) == {"1": pytest.approx([0.05, 0.1, 0.15]), "3": pytest.approx([0.35, 0.4, 0.65])}


def test_figures_of_several_searches() -> None:
    task = Task(SearchSpace("none", (), ()), len, len, "", FRONT, {"region": REFERENCE, "whole": np.array([-50, 4.0])})
    found = figures(task, [Trace(VALUES, 600, 0.5), Trace(VALUES[::-1], 300, 1.0)], (2, 6))
    # Backwards: (85, 3) dominates 10, then (90, 2) 30 of 35, then (80, 1) the rest in the fourth.
    assert found["hypervolume"] == {"2": pytest.approx((5 + 30) / 2 / 35), "6": 1.0}
    assert found["evaluations_to_95"] == {"median": 4.5, "q25": 4.25, "q75": 4.75, "reached": 2}
    assert found["candidates_per_s"] == 600
    assert found["cpu_ms_per_trial"] == 125
    # Towards (50, 4): (60, 1) and (80, 3) dominate 30 + 30 - 10, (90, 2) 80, the front 80 + 30.
    assert found["hypervolume_whole_quartiles"]["2"] == pytest.approx([57.5 / 110, 72.5 / 110])


def test_references_of_a_table() -> None:
    accuracy, cost = np.array([10.0, 70.0, 65.0]), np.array([5.0, 3.0, 1.0])
    found = references(accuracy, cost)
    np.testing.assert_array_equal(found["region"], [-60, 5])
    np.testing.assert_array_equal(found["whole"], [-10, 5])


# ------------------------------------------------------------------- synthetic


def test_the_synthetic_front_by_brute_force() -> None:
    task = make(slots=2, seed=3)
    codes = np.array(list(itertools.product(range(OPTIONS), repeat=2 * CHOICES)))
    values = task.values(codes)
    expected = np.unique(values[nondominated(values)], axis=0)[::-1]
    np.testing.assert_allclose(task.front, expected)
    assert -values[:, 0].max() == pytest.approx(0)
    assert -values[:, 0].min() == pytest.approx(100) == task.best
    assert task.references["region"] == pytest.approx([values[:, 0].mean(), values[:, 1].max()])
    assert task.references["whole"] == pytest.approx([0, values[:, 1].max()])


def test_the_synthetic_space_has_45_choices() -> None:
    task = make()
    assert len(task.space.choices) == 45
    assert task.space.size == 4**45
    values = task.values(task.space.random_codes(1000, np.random.default_rng(0)))
    assert not any((value <= task.front).all(axis=1).any() for value in values)
    assert task.references["region"][0] == pytest.approx(values[:, 0].mean(), abs=1)


def test_choices_of_a_synthetic_slot_do_not_just_add_up() -> None:
    slots = Slots.draw(4, seed=0)
    cube = slots.gain.reshape(4, OPTIONS, OPTIONS, OPTIONS)
    assert (np.abs(cube[:, 1, 1] - cube[:, 1, 0] - cube[:, 0, 1] + cube[:, 0, 0]) > 1e-6).all()
    assert (np.diff(slots.cost.reshape(4, OPTIONS, OPTIONS, OPTIONS), axis=1) > 0).all()
