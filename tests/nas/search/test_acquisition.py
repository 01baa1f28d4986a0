"""Expected improvement against differences of hypervolumes, averaged over draws of the uncertain objectives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, qmc

from nas.search.acquisition import Beliefs, Sampled, Staircase, Values, improvement
from nas.search.pareto import hypervolume

RNG = np.random.default_rng(0)


def differences(front: Values, candidates: Values, reference: Values) -> Values:
    """What each candidate adds to the front."""
    before = hypervolume(front, reference)
    return np.array([hypervolume(np.vstack([front, row]), reference) - before for row in candidates])


def averaged(front: Values, beliefs: Beliefs, reference: Values, uncertain: int, log2: int = 10) -> Values:
    """Mean of the differences over a quasi-random sample of the first objectives."""
    unit = qmc.Sobol(uncertain, rng=np.random.default_rng(1)).random_base2(log2)
    drawn = np.zeros((len(unit), beliefs.mean.shape[1]))
    drawn[:, :uncertain] = norm.ppf(unit)
    rows = zip(beliefs.mean, beliefs.deviation, strict=True)
    return np.array([differences(front, mean + deviation * drawn, reference).mean() for mean, deviation in rows])


def made(objectives: int, uncertain: int, n: int = 12) -> tuple[Values, Beliefs]:
    """A front and candidates around it, in the unit cube; some are outside of it."""
    rng = np.random.default_rng(objectives * 10 + uncertain)
    deviation = np.zeros((n, objectives))
    deviation[:, :uncertain] = rng.uniform(0.01, 0.3, (n, uncertain))
    return rng.uniform(0.2, 1.1, (15, objectives)), Beliefs(rng.uniform(0.0, 1.1, (n, objectives)), deviation)


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9])
def test_known_values_add_their_hypervolume(scale: float) -> None:
    front, beliefs = made(2, 0)
    expected = differences(front, beliefs.mean, np.ones(2)) * scale**2
    gain = improvement(front * scale, np.full(2, scale), np.zeros(2), 0)
    assert isinstance(gain, Staircase)
    found = gain.expected(Beliefs(beliefs.mean * scale, beliefs.deviation))
    assert (expected > 0).any()
    assert (expected == 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * scale**2)


@pytest.mark.parametrize("front", [np.zeros((0, 2)), np.array([[2.0, 2.0]]), np.array([[0.5, 0.5], [0.5, 0.5]])])
def test_fronts_with_little_in_them(front: Values) -> None:
    mean = np.array([[0.25, 0.25], [0.5, 0.5], [0.75, 0.25], [1.0, 0.5], [0.5, 1.5]])
    gain = improvement(front, np.ones(2), np.zeros(2), 1)
    np.testing.assert_allclose(gain.expected(Beliefs(mean, mean * 0)), differences(front, mean, np.ones(2)), atol=1e-6)
    assert gain.expected(Beliefs(mean[:0], mean[:0])).shape == (0,)


def test_an_uncertain_objective_beside_a_known_one_is_exact() -> None:
    front, beliefs = made(2, 1)
    gain = improvement(front, np.ones(2), np.zeros(2), 1)
    assert isinstance(gain, Staircase)
    expected = averaged(front, beliefs, np.ones(2), 1)  # but for the tail beyond the last of 1,024 draws
    np.testing.assert_allclose(gain.expected(beliefs), expected, rtol=2e-3, atol=0.3 / 1024)
    assert (expected > 0.03).sum() > 3


@pytest.mark.parametrize(("objectives", "uncertain"), [(2, 2), (3, 0), (3, 1), (3, 2)])
def test_other_objectives_are_sampled(objectives: int, uncertain: int) -> None:
    front, beliefs = made(objectives, uncertain)
    reference = np.ones(objectives)
    expected = averaged(front, beliefs, reference, uncertain or 1, 8)
    ideal = np.where(np.arange(objectives) < uncertain, -0.5, 0.0)
    gain = improvement(front, reference, ideal, uncertain)
    assert isinstance(gain, Sampled)
    np.testing.assert_allclose(gain.expected(beliefs), expected, rtol=0.03, atol=0.003)
    np.testing.assert_allclose(gain.expected(beliefs, 16), expected, rtol=0.2, atol=0.03)


@pytest.mark.parametrize("objectives", [2, 3])
def test_what_is_added_counts_as_evaluated(objectives: int) -> None:
    front, beliefs = made(objectives, 1)
    gain = improvement(front[:5], np.ones(objectives), np.zeros(objectives), 1)
    first = gain.expected(beliefs)
    for row in front[5:]:
        gain.add(row[None])
    whole = improvement(front, np.ones(objectives), np.zeros(objectives), 1).expected(beliefs)
    np.testing.assert_allclose(gain.expected(beliefs), whole, rtol=1e-6)
    assert (first >= whole).all()
    assert (first > whole + 1e-3).any()


def test_an_objective_without_any_range() -> None:
    """All networks cost the same, for example: nothing is gained, and it is a number."""
    front = np.array([[0.5, 1.0, 0.3]])
    gain = improvement(front, np.array([1.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0]), 1)
    assert gain.expected(Beliefs(front - [0.1, 0, 0], front * 0)).tolist() == [0.0]
