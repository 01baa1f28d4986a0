from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_predictors import Prediction
from latency_predictors.metrics import coverage, errors, kendall, mdape, spearman

orders = st.integers(3, 12).flatmap(lambda n: st.permutations(range(n)))


@given(orders)
def test_spearman_is_the_closed_form_for_ranks(order: list[int]) -> None:
    n = len(order)
    squares = sum((rank - index) ** 2 for index, rank in enumerate(order))
    assert spearman(np.exp(range(n)), order) == pytest.approx(1 - 6 * squares / (n * (n * n - 1)))


@given(orders)
def test_kendall_counts_pairs(order: list[int]) -> None:
    pairs = list(combinations(range(len(order)), 2))
    agreeing = sum(order[a] < order[b] for a, b in pairs)
    assert kendall(range(len(order)), order) == pytest.approx((2 * agreeing - len(pairs)) / len(pairs))


def test_mdape_is_the_middle_percentage_of_the_measured_value() -> None:
    # 10 %, 50 % and 300 % of what was measured.
    assert mdape([1.1, 1.0, 4.0], [1.0, 2.0, 1.0]) == pytest.approx(50)


def test_coverage_counts_closed_intervals() -> None:
    assert coverage([0, 0, 2, 3], [1, 1, 3, 4], [0, 1, 1.9, 3.5]) == 0.75


def test_a_constant_prediction_orders_nothing() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]) == 0
    assert kendall([1, 2, 3], [5, 5, 5]) == 0


def test_errors_has_all_figures() -> None:
    mean_ms = np.array([1.0, 2.0, 4.0])
    found = errors(Prediction(mean_ms, mean_ms * 0.5, mean_ms * 1.2), [1.0, 2.5, 5.0])
    assert found == pytest.approx({"spearman": 1, "kendall": 1, "mdape": 20, "coverage90": 1 / 3})


def test_bad_input_raises() -> None:
    with pytest.raises(ValueError, match="equal length"):
        spearman([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="equal length"):
        coverage([[1, 2]], [[1, 2]], [[1, 2]])
    with pytest.raises(ValueError, match="at least two"):
        kendall([1], [1])
    with pytest.raises(ValueError, match="above 0 ms"):
        mdape([1, 2], [0, 1])
    with pytest.raises(ValueError, match="finite"):
        spearman([1, np.nan], [1, 2])
