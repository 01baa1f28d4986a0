"""Non-dominated points, layers, crowding and hypervolume against Optuna's and against definitions written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank

from nas.search.pareto import crowding, hypervolume, layers, nondominated

Values = NDArray[np.float64]

#: Few distinct numbers, so that ties and equal rows are common.
POINTS = st.tuples(st.integers(0, 14), st.integers(1, 4)).flatmap(
    lambda shape: arrays.arrays(np.float64, shape, elements=st.integers(0, 5).map(float))
)


def dominates(a: Values, b: Values) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(POINTS)
def test_nondominated_by_definition(values: Values) -> None:
    expected = [not any(dominates(other, row) for other in values) for row in values]
    assert nondominated(values).tolist() == expected


@given(POINTS)
def test_layers_are_optunas_ranks(values: Values) -> None:
    assert layers(values).tolist() == _fast_non_domination_rank(values).tolist()


@given(POINTS, st.integers(1, 5))
def test_hypervolume_counts_unit_cells(values: Values, reference: int) -> None:
    d = values.shape[1]
    corners = np.array(list(itertools.product(range(reference), repeat=d)), dtype=float).reshape(-1, d)
    covered = sum(bool((values <= corner).all(axis=1).any()) for corner in corners)
    assert hypervolume(values, np.full(d, float(reference))) == covered


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_hypervolume_is_optunas(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    for n in (1, 10, 60):
        values = rng.standard_normal((n, objectives))
        reference = rng.uniform(0, 2, objectives)
        inside = values[(values < reference).all(axis=1)]
        expected = compute_hypervolume(inside, reference) if len(inside) else 0.0
        assert hypervolume(values, reference) == pytest.approx(expected)


def test_crowding_of_a_written_out_front() -> None:
    """Gaps of 1..3 and 1..4 of ranges 4 and 5: of the second point (3 - 0)/4 + (5 - 2)/5, of the third (4 - 1)/4 + ..."""
    front = np.array([[0.0, 5.0], [1.0, 4.0], [3.0, 2.0], [4.0, 0.0]])
    shuffled = [2, 0, 3, 1]
    expected = np.array([np.inf, 3 / 4 + 3 / 5, 3 / 4 + 4 / 5, np.inf])
    np.testing.assert_allclose(crowding(front[shuffled]), expected[shuffled])
    assert np.isinf(crowding(front[:1])).all()
    # Where all are equal in an objective, none is crowded by it.
    assert crowding(np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]]))[1] == 1
