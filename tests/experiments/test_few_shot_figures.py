"""Figures against slow definitions, and baselines against textbooks."""

from __future__ import annotations

from itertools import combinations
from statistics import median

import numpy as np
import pytest
from scipy.stats import multivariate_normal, rankdata

from experiments.few_shot_latency import baselines
from experiments.few_shot_latency.baselines import LowRank, Macs, RidgeDevices, greedy
from experiments.few_shot_latency.figures import figures, geometric_mean, mean, partial, within
from experiments.few_shot_latency.methods import Guess, Scenario
from search_spaces import SearchSpace


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def tau_b(a: np.ndarray, b: np.ndarray) -> float:
    pairs = list(combinations(range(len(a)), 2))
    signs = np.array([(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in pairs])
    return float((signs[:, 0] * signs[:, 1]).sum() / np.sqrt((signs[:, 0] ** 2).sum() * (signs[:, 1] ** 2).sum()))


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and measured (in whole ms, as some timers do), MACs, resolution."""
    rng = np.random.default_rng(0)
    macs = np.exp(rng.standard_normal(40))
    measured = np.round(10 * macs * np.exp(0.3 * rng.standard_normal(40))) + 1
    return macs * np.exp(0.5 * rng.standard_normal(40)), measured, macs, rng.integers(0, 3, 40)


def test_every_figure_is_its_definition(case: tuple[np.ndarray, ...]) -> None:
    predicted, measured, macs, resolution = case
    found = figures(Guess(predicted, predicted * 5, predicted * 12), measured, macs, resolution)
    order = sorted(range(40), key=lambda row: (measured[row], row))[4:36]
    assert found["rho"] == pytest.approx(rank_correlation(predicted, measured))
    assert found["rho80"] == pytest.approx(rank_correlation(predicted[order], measured[order]))
    assert found["tau"] == pytest.approx(tau_b(predicted, measured))
    errors = [100 * abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    assert found["mdape"] == pytest.approx(median(errors))
    inside = [5 * p <= m <= 12 * p for p, m in zip(predicted, measured, strict=True)]
    assert found["coverage90"] == sum(inside) / 40
    assert 0 < sum(inside) < 40
    assert figures(Guess(predicted), measured, macs)["coverage90"] is None
    assert figures(Guess(predicted), measured, macs)["rho_one_resolution"] is None


def test_the_partial_correlation_is_that_of_residuals_of_ranks(case: tuple[np.ndarray, ...]) -> None:
    predicted, measured, macs, _ = case
    design = np.stack([rankdata(macs), np.ones(40)], axis=1)
    left = [rankdata(x) - design @ np.linalg.lstsq(design, rankdata(x), rcond=None)[0] for x in (predicted, measured)]
    assert partial(predicted, measured, macs) == pytest.approx(np.corrcoef(*left)[0, 1])
    assert partial(2 * macs, measured, macs) is None  # nothing is left of MACs


def test_groups_are_weighted_by_their_members_and_small_ones_left_out() -> None:
    measured = np.arange(15.0)
    predicted = np.concatenate([np.arange(6.0), -np.arange(5.0), [9, 1, 5, 3]])
    group = np.repeat([7, 8, 9], [6, 5, 4])
    assert within(predicted, measured, group) == pytest.approx((6 * 1 + 5 * -1) / 11)
    assert within(predicted[11:], measured[11:], group[11:]) is None


def test_means_pass_over_what_is_not_there() -> None:
    assert mean([{"a": 1.0, "b": None}, {"a": 2.0, "b": 5.0}, {"a": 6.0, "b": None}]) == {"a": 3.0, "b": 5.0}
    assert mean([{"a": None}]) == {"a": None}
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4)
    assert geometric_mean([0.5, -0.1]) is None


@pytest.fixture
def scenario(fbnet_space: SearchSpace) -> Scenario:
    codes = fbnet_space.codes(fbnet_space.sample(50, seed=2))
    features = fbnet_space.features(codes)
    prices = np.exp(np.random.default_rng(1).standard_normal((features.shape[1], 4)))
    return Scenario(fbnet_space, "inference", codes, None, features / np.maximum(features.mean(axis=0), 1) @ prices)


def test_macs_are_scaled_by_the_median_ratio(scenario: Scenario) -> None:
    method, rows = Macs(), np.array([3, 8, 20])
    method.learn(scenario)
    macs = scenario.space.macs(scenario.codes)
    method.calibrate(rows, macs[rows] * [2e-6, 9e-6, 3e-6])
    np.testing.assert_allclose(method.predict(np.arange(50)).mean_ms, 3e-6 * macs)
    method.calibrate(rows[:0], macs[:0])
    np.testing.assert_allclose(method.predict(rows).mean_ms, macs[rows] / 1e6)


def test_ridge_on_devices_finds_a_twin_of_a_training_device(scenario: Scenario) -> None:
    method, rows = RidgeDevices(), np.arange(12)
    method.learn(scenario)
    method.calibrate(rows, 3 * scenario.train_ms[rows, 1])
    np.testing.assert_allclose(method.predict(np.arange(50)).mean_ms, 3 * scenario.train_ms[:, 1], rtol=0.01)


def test_low_rank_is_the_gaussian_process_of_most_evidence(scenario: Scenario) -> None:
    method, rows = LowRank(), np.arange(0, 50, 7)
    method.learn(scenario)
    measured = scenario.train_ms[rows, 0] * np.exp(0.1 * np.random.default_rng(2).standard_normal(len(rows)))
    method.calibrate(rows, measured)
    logs = np.log(scenario.train_ms)
    alike = (logs - logs.mean(axis=0)) / logs.std(axis=0) * logs.std(axis=0).mean()
    target = np.log(measured) - logs.mean()

    def covariance(scale: float) -> np.ndarray:
        return scale**2 * alike @ alike.T / 4 + baselines.OFFSET**2

    def evidence(scale: float, noise: float) -> float:
        matrix = covariance(scale)[np.ix_(rows, rows)] + noise**2 * np.eye(len(rows))
        return float(multivariate_normal(np.zeros(len(rows)), matrix).logpdf(target))

    scale, noise = max(((s, n) for s in baselines.SCALES for n in baselines.NOISES), key=lambda one: evidence(*one))
    full = covariance(scale)
    gain = full[:, rows] @ np.linalg.inv(full[np.ix_(rows, rows)] + noise**2 * np.eye(len(rows)))
    mean_log = logs.mean() + gain @ target
    deviation = np.sqrt(np.diag(full - gain @ full[rows]) + noise**2)
    found = method.predict(np.arange(50))
    np.testing.assert_allclose(found.mean_ms, np.exp(mean_log), rtol=1e-4)
    np.testing.assert_allclose(found.low_ms, np.exp(mean_log - 1.645 * deviation), rtol=1e-3)
    np.testing.assert_allclose(found.high_ms, np.exp(mean_log + 1.645 * deviation), rtol=1e-3)


def test_greedy_rows_lower_the_mean_variance_most() -> None:
    factors = np.random.default_rng(0).standard_normal((12, 3))

    def variance(rows: list[int]) -> float:
        inverse = np.linalg.inv(np.eye(3) + factors[rows].T @ factors[rows] / 0.2**2)
        return float(np.mean(np.diag(factors @ inverse @ factors.T)))

    picked = greedy(factors, 5, 0.2).tolist()
    for step in range(5):
        left = [row for row in range(12) if row not in picked[:step]]
        assert picked[step] == min(left, key=lambda row: variance([*picked[:step], row]))
