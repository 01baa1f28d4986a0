"""Fronts and hypervolumes, compared with definitions, counted cells, and Optuna's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume

from nas.search.pareto import hypervolume, nondominated

Values = NDArray[np.float64]


def by_definition(values: Values) -> list[bool]:
    return [not any((o <= v).all() and (o < v).any() for o in values) for v in values]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("grid", [3, 1000])
def test_front_is_that_of_the_definition(objectives: int, grid: int) -> None:
    """On a coarse grid many points are equal, or equal in some objectives."""
    rng = np.random.default_rng(objectives)
    for count in (0, 1, 2, 5, 40):
        values = rng.integers(grid, size=(count, objectives)).astype(float)
        assert nondominated(values).tolist() == by_definition(values)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_is_the_number_of_dominated_cells(objectives: int) -> None:
    size = 5
    cells = np.array(list(itertools.product(range(size), repeat=objectives))) + 0.5
    rng = np.random.default_rng(objectives)
    for count in (0, 1, 2, 3, 10, 30):
        values = rng.integers(size + 2, size=(count, objectives)).astype(float)  # some are behind the reference
        covered = sum(bool((values < cell).all(axis=1).any()) for cell in cells)
        assert hypervolume(values, np.full(objectives, float(size))) == covered


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_is_that_of_optuna(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    reference = np.full(objectives, 1.0)
    for count in (1, 3, 20, 60):
        values = rng.random((count, objectives))
        values[: count // 2] /= np.linalg.norm(values[: count // 2], axis=1, keepdims=True)  # a large front
        values = np.minimum(values, 1.0)
        assert hypervolume(values, reference) == pytest.approx(compute_hypervolume(values, reference), rel=1e-9)


def test_points_at_the_reference_count_nothing() -> None:
    assert hypervolume(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 1.0])) == 0.0
