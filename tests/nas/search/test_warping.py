"""Warped values keep their order; those that matter stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from nas.search.surrogates.warping import KEPT, Warping

LOSSES = np.random.default_rng(0).normal(0, 3, 200)


@pytest.mark.parametrize("goal", [-2.0, 0.0, 100.0])
def test_order_identity_and_inverse(goal: float) -> None:
    warping = Warping.of(LOSSES, goal)
    warped = warping(LOSSES)
    assert (np.argsort(warped) == np.argsort(LOSSES)).all()
    below = goal >= LOSSES
    assert below.sum() >= KEPT
    np.testing.assert_array_equal(warped[below], LOSSES[below])
    assert (warped[~below] < LOSSES[~below]).all()
    np.testing.assert_allclose(warping.inverse(warped), LOSSES, rtol=1e-9)


def test_far_above_the_bound_differences_are_logarithms() -> None:
    warping = Warping(bound=1.0, scale=0.5)
    assert warping(np.array([1.0 + 0.5 * (np.e - 1)])) == pytest.approx(1.5)
    step = 1e-6
    slope = (warping(np.array([1.5 + step])) - warping(np.array([1.5]))) / step
    assert slope == pytest.approx(0.5, rel=1e-4)  # at one scale above it


@pytest.mark.parametrize("n", [1, 5, KEPT, 50])
def test_the_best_always_matter(n: int) -> None:
    losses = np.arange(float(n))
    warping = Warping.of(losses, goal=-7.0)
    np.testing.assert_array_equal(warping(losses)[:KEPT], losses[:KEPT])
    assert (warping(losses)[KEPT:] < losses[KEPT:]).all()


def test_equal_values() -> None:
    warping = Warping.of(np.full(30, 0.1), goal=-1.0)
    np.testing.assert_array_equal(warping(np.full(3, 0.1)), 0.1)
    assert 0.1 < warping(np.array([9.0]))[0] < 9.0
