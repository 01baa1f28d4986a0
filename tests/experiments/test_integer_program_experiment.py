"""The synthetic accuracy, whose best networks are claimed to be known, and the methods' numbers of evaluations."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.integer_program import benchmarks
from experiments.integer_program.benchmarks import Benchmark, synthetic
from experiments.integer_program.methods import METHODS, normal_scores


@pytest.fixture(scope="module")
def benchmark_with_pairs() -> Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "FRONT", 6)
        return synthetic(0.25, seed=1)


def test_no_network_is_above_the_front(benchmark_with_pairs: Benchmark) -> None:
    """Random networks, and mutants of the best of them."""
    benchmark, rng = benchmark_with_pairs, np.random.default_rng(0)
    codes = benchmark.space.random_codes(2000, rng)
    limit = float(np.median(benchmark.front[:, 1]))
    for _ in range(15):
        worth = np.where(benchmark.latency_ms(codes) <= limit, benchmark.accuracy(codes), -np.inf)
        best = codes[np.argsort(-worth)[:50]]
        codes = np.concatenate([best, benchmark.space.mutate(np.repeat(best, 20, axis=0), 0.08, rng)])
    best_accuracy = benchmark.truth(limit)
    assert best_accuracy - 5 < worth.max() <= best_accuracy + 1e-9
    random = benchmark.accuracy(benchmark.space.random_codes(5000, rng))
    assert abs(random.mean() - 59.5) < 1  # 60 at the mean; the curve bends down
    assert abs(random.std() - 5) < 1


def test_volumes_are_shares(benchmark_with_pairs: Benchmark) -> None:
    random = benchmark_with_pairs.space.random_codes(100, np.random.default_rng(0))
    few, many = (benchmark_with_pairs.volume(random[:n]) for n in (20, 100))
    assert 0 <= few <= many < 1


@pytest.mark.parametrize("method", ["random", "regression", "regression of ranks, 5 rounds", "the same, whole range"])
def test_a_method_spends_its_budget_on_distinct_networks(benchmark_with_pairs: Benchmark, method: str) -> None:
    codes = METHODS[method](benchmark_with_pairs, 24, np.random.default_rng(0))
    assert len(np.unique(codes, axis=0)) == len(codes) == 24


def test_replacing_takes_as_many_as_there_are_options(benchmark_with_pairs: Benchmark) -> None:
    needed = 1 + 22 * 8
    method = METHODS["replaced, largest"]
    assert not len(method(benchmark_with_pairs, needed, np.random.default_rng(0)))
    assert len(method(benchmark_with_pairs, needed + 2, np.random.default_rng(0))) == needed + 2


def test_normal_scores_are_those_of_the_ranks() -> None:
    scores = normal_scores(np.array([5.0, -100.0, 7.0]))
    assert scores[0] == pytest.approx(0)
    assert scores[2] == pytest.approx(-scores[1]) == pytest.approx(0.9674, abs=1e-4)
