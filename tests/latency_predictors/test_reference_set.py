from __future__ import annotations

from time import process_time

import numpy as np
import pytest

import search_spaces
from latency_predictors import get, reference_set
from latency_predictors.metrics import mdape
from latency_predictors.reference_set import RELATIVE_NOISE, _greedy, _standardised, choose
from nas.testing.predictors import SimulatedDevice
from search_spaces import SearchSpace


def test_it_holds_distinct_architectures(convnet: SearchSpace) -> None:
    found = reference_set(convnet, "inference", 12)
    assert len(found) == len(set(found)) == 12
    assert len(np.unique(convnet.codes(found), axis=0)) == 12


def test_it_is_deterministic_and_grows(convnet: SearchSpace) -> None:
    again = search_spaces.get("convnet")
    assert reference_set(again, "inference", 10) == reference_set(convnet, "inference", 10)
    assert reference_set(convnet, "inference", 5) == reference_set(convnet, "inference", 10)[:5]


def test_it_is_made_in_seconds() -> None:
    fresh = search_spaces.get("convnet")
    started = process_time()
    reference_set(fresh, "inference", 10)
    assert process_time() - started < 4


def test_the_whole_of_a_small_space_can_be_asked_for() -> None:
    space = search_spaces.get(
        "convnet", resolutions=(8,), widths=((16,),), strides=(1,), depths=((1,),), kernels=(3,), head=16
    )
    assert space.size == 9
    assert len(set(reference_set(space, "inference", 9))) == 9
    with pytest.raises(ValueError, match="9 architectures, fewer than the 10"):
        reference_set(space, "inference", 10)


def test_bad_input_raises(convnet: SearchSpace) -> None:
    with pytest.raises(ValueError, match="2 architectures or more, not 1"):
        reference_set(convnet, "inference", 1)
    with pytest.raises(ValueError, match="phase"):
        reference_set(convnet, "decode", 3)


def test_greedy_picks_lower_the_variance_most() -> None:
    rows = np.random.default_rng(0).random((9, 4))
    picked = _greedy(rows, 5)
    for step in range(5):
        left = [row for row in range(9) if row not in picked[:step]]
        assert picked[step] == min(left, key=lambda row: posterior_variance(rows, [*picked[:step], row]))


def posterior_variance(rows: np.ndarray, measured: list[int]) -> float:
    """Mean over `rows` of x' (I + X'X / noise)^-1 x, straight from the textbook."""
    design = rows[measured]
    covariance = np.linalg.inv(np.eye(rows.shape[1]) + design.T @ design / RELATIVE_NOISE**2)
    return float(np.mean([x @ covariance @ x for x in rows]))


def test_calibrating_with_it_beats_random_sets(convnet: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    unseen = convnet.random_codes(200, rng)
    features = convnet.features(unseen)
    chosen = convnet.codes(reference_set(convnet, "inference", 10))
    random_sets = [convnet.random_codes(10, rng) for _ in range(5)]
    predictor = get("nonnegative")(convnet)

    def error(reference: np.ndarray, seed: int) -> float:
        device = SimulatedDevice.draw(features, seed)
        predictor.calibrate(reference, device.measure(convnet.features(reference)))
        return mdape(predictor.predict(unseen).mean_ms, device.measure(features))

    ours = np.mean([error(chosen, seed) for seed in range(40)])
    theirs = np.mean([[error(reference, seed) for seed in range(40)] for reference in random_sets])
    assert ours < 0.9 * theirs


def test_equal_candidates_are_chosen_once(convnet: SearchSpace) -> None:
    candidates = convnet.random_codes(30, np.random.default_rng(3))
    rows = choose(convnet, "inference", np.concatenate([candidates, candidates]), 6)
    np.testing.assert_array_equal(rows, choose(convnet, "inference", candidates, 6))


def test_all_devices_count_alike() -> None:
    """A device on which latencies differ a hundred times as much does not decide alone."""
    rng = np.random.default_rng(0)
    logs = rng.standard_normal((40, 30))
    features = _standardised(logs)
    np.testing.assert_allclose(features[:, :-1].std(axis=0) * np.sqrt(30), 1)
    assert (features[:, -1] == features[0, -1]).all()


def test_too_few_candidates_raise(convnet: SearchSpace) -> None:
    candidates = convnet.random_codes(5, np.random.default_rng(3))
    assert sorted(choose(convnet, "inference", candidates, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="11 architectures cannot be chosen from 5 different ones"):
        choose(convnet, "inference", np.tile(candidates, (3, 1)), 11)
