from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from latency_predictors.devices.samples import drift, fastest_ms, halves_ms, repeat_error


def timed(latencies_ms: list[float], seed: int = 0, noise: float = 0.0, rounds: int = 12) -> NDArray[np.float64]:
    """Samples that are never below the latencies."""
    rng = np.random.default_rng(seed)
    return np.array(latencies_ms)[:, None, None] * (1 + noise * rng.exponential(size=(len(latencies_ms), rounds, 3)))


def test_fastest_runs_and_halves_equal_loops() -> None:
    samples_ms = timed([1, 2, 5], noise=0.3, rounds=5)
    odd, even = halves_ms(samples_ms)
    for index, network in enumerate(samples_ms.tolist()):
        assert fastest_ms(samples_ms)[index] == min(min(visit) for visit in network)
        assert odd[index] == min(min(network[number]) for number in (0, 2, 4))
        assert even[index] == min(min(network[number]) for number in (1, 3))
    differences = sorted(abs(a - b) / min(a, b) for a, b in zip(odd, even, strict=True))
    assert repeat_error(samples_ms) == pytest.approx(differences[1])
    assert repeat_error(samples_ms[:0]) == 0


@pytest.mark.parametrize("factor", [0.7, 1.1, 1.5])
@pytest.mark.parametrize("references", [1, 2, 3, 5])
def test_a_machine_that_is_slower_as_a_whole_is_corrected(factor: float, references: int) -> None:
    latencies_ms = [2.0, 0.5, 7.0, 1.0, 3.0][:references]
    first = timed(latencies_ms, seed=1, noise=0.01)
    now = timed([factor * latency for latency in latencies_ms], seed=2, noise=0.01, rounds=8)
    assert drift(first, now) == pytest.approx(1 / factor, rel=0.01)


def test_noise_of_single_references_is_not_taken_for_drift() -> None:
    """One reference is slower, one faster, one as it was: no factor brings all of them closer."""
    first = timed([1.0, 2.0, 4.0], noise=1e-4)
    assert drift(first, timed([1.2, 2.0, 4.0 / 1.2], noise=1e-4)) == 1
    assert drift(first, timed([1.2, 2.0 * 1.01, 4.0 / 1.2], noise=1e-4)) == 1


def test_a_correction_is_kept_only_where_it_lowers_the_error() -> None:
    """Many simulated machines: what is kept leaves later chunks closer to the first than no correction does."""
    rng = np.random.default_rng(0)
    kept, without, corrected = 0, [], []
    for seed in range(300):
        true = np.exp(rng.normal(0, 0.01))  # the machine hardly drifts; each reference by itself moves as much
        moved = true * np.exp(rng.normal(0, 0.01, 3)) * [1.0, 2.0, 4.0]
        factor = drift(timed([1.0, 2.0, 4.0], 2 * seed, 0.02), timed(moved.tolist(), 2 * seed + 1, 0.02))
        kept += factor != 1
        without.append(abs(np.log(true)))
        corrected.append(abs(np.log(true * factor)))
    assert 0 < kept < 300
    assert np.mean(corrected) < np.mean(without)


def test_no_references_correct_nothing() -> None:
    assert drift(timed([]), timed([])) == 1
