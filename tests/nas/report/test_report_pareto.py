from __future__ import annotations

import time

import numpy as np
import pytest

from nas.report import hypervolume, hypervolume_history, pareto_front, reference_point


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def volume_by_cells(points: np.ndarray, reference: np.ndarray) -> float:
    """Count the cells of the grid through all coordinates that some point dominates."""
    edges = [np.unique(np.append(points[:, d][points[:, d] < r], r)) for d, r in enumerate(reference)]
    corners = np.stack(np.meshgrid(*(e[:-1] for e in edges), indexing="ij"), axis=-1).reshape(-1, len(reference))
    sizes = np.stack(np.meshgrid(*map(np.diff, edges), indexing="ij"), axis=-1).reshape(-1, len(reference))
    inside = (points[None] <= corners[:, None]).all(axis=2).any(axis=1)
    return float(sizes[inside].prod(axis=1).sum())


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [4, 1000])  # few levels: many equal rows and equal coordinates
def test_front_is_what_pairwise_comparison_finds(objectives: int, levels: int) -> None:
    rng = np.random.default_rng(objectives)
    values = rng.integers(0, levels, size=(60, objectives)).astype(float)
    feasible = rng.random(60) < 0.7
    signs = np.where(rng.random(objectives) < 0.5, 1, -1)
    directions = ["minimize" if sign == 1 else "maximize" for sign in signs]
    points = values * signs
    expected = [
        bool(feasible[i]) and not any(feasible[j] and dominates(points[j], points[i]) for j in range(60))
        for i in range(60)
    ]
    assert pareto_front(values, directions, feasible).tolist() == expected


def test_equal_rows_are_on_the_front_together() -> None:
    values = [[1, 2], [1, 2], [2, 1], [2, 2], [2, 2]]
    assert pareto_front(values, ["minimize", "minimize"]).tolist() == [True, True, True, False, False]


def test_front_of_nothing_is_empty() -> None:
    assert pareto_front(np.empty((0, 2)), ["minimize", "maximize"]).shape == (0,)
    assert not pareto_front([[1.0, 2.0]], ["minimize", "maximize"], [False]).any()


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [3, 1000])
def test_hypervolume_is_the_sum_of_dominated_cells(objectives: int, levels: int) -> None:
    rng = np.random.default_rng(10 + objectives)
    points = rng.integers(0, levels, size=(9, objectives)) / levels
    reference = np.full(objectives, 0.8)  # some points are beyond it
    assert hypervolume(points, reference) == pytest.approx(volume_by_cells(points, reference), abs=1e-12)


@pytest.mark.parametrize("objectives", [2, 3, 5])
def test_hypervolume_agrees_with_optuna(objectives: int) -> None:
    from optuna._hypervolume import compute_hypervolume

    points = np.random.default_rng(objectives).random((25, objectives))
    reference = np.full(objectives, 1.1)
    assert hypervolume(points, reference) == pytest.approx(compute_hypervolume(points, reference), rel=1e-9)


def test_hypervolume_of_no_point_below_the_reference_is_zero() -> None:
    assert hypervolume(np.empty((0, 3)), [1, 1, 1]) == 0
    assert hypervolume([[1.0, 0.0], [np.inf, -3.0]], [1, 1]) == 0


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_history_is_the_hypervolume_of_every_prefix(objectives: int) -> None:
    rng = np.random.default_rng(20 + objectives)
    values = rng.integers(0, 20, size=(40, objectives)).astype(float)
    feasible = rng.random(40) < 0.7
    directions = ["maximize", "minimize", "maximize"][:objectives]
    signs = np.array([-1, 1, -1][:objectives])
    reference = np.array([2.0, 18.0, 2.0][:objectives])
    expected = [hypervolume((values[: n + 1] * signs)[feasible[: n + 1]], reference * signs) for n in range(40)]
    assert hypervolume_history(values, directions, reference, feasible) == pytest.approx(expected)
    assert expected[-1] > expected[0]


def test_history_of_a_thousand_evaluations_takes_less_than_a_second() -> None:
    x = np.random.default_rng(0).random(1000)
    values = np.stack([x, 1 - x], axis=1)  # all of them are on the front
    start = time.process_time()
    history = hypervolume_history(values, ["minimize", "minimize"], [1.1, 1.1])
    assert time.process_time() - start < 1
    assert history[-1] == pytest.approx(hypervolume(values, [1.1, 1.1]))


def test_reference_point_is_a_tenth_of_the_range_worse_than_the_worst() -> None:
    values = [[0.5, 10.0], [0.9, 30.0]]
    assert reference_point(values, ["maximize", "minimize"]) == pytest.approx([0.46, 32.0])
    one = reference_point([[0.5, 10.0]], ["maximize", "minimize"])
    assert one[0] < 0.5
    assert one[1] > 10


def test_values_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto_front([[1.0, np.nan]], ["minimize", "minimize"])
    with pytest.raises(ValueError, match="NaN"):
        hypervolume([[1.0, np.nan]], [2, 2])
    with pytest.raises(ValueError, match="NaN"):
        hypervolume_history([[1.0, np.nan]], ["minimize", "minimize"], [2, 2])
    with pytest.raises(ValueError, match="infinitely good"):
        hypervolume([[1.0, -np.inf]], [2, 2])
    with pytest.raises(ValueError, match="finite reference"):
        hypervolume([[1.0, 1.0]], [2, np.nan])
    with pytest.raises(ValueError, match="'smallest'"):
        pareto_front([[1.0]], ["smallest"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="shape"):
        pareto_front([[1.0, 2.0]], ["minimize"])
    with pytest.raises(ValueError, match="feasible"):
        pareto_front([[1.0]], ["minimize"], [True, False])
    with pytest.raises(ValueError, match="at least one row"):
        reference_point(np.empty((0, 2)), ["minimize", "minimize"])
