"""A bank in memory answers as a bank of records does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bank_records import record

from latency_predictors import Bank, LatencyBank, MatrixBank, get
from search_spaces import SearchSpace


def matrix_bank(space: SearchSpace) -> MatrixBank:
    codes = space.codes(space.sample(4, seed=0))
    latency_ms = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0], [np.nan, np.nan]])
    return MatrixBank.of(space, codes, latency_ms, ("board", "phone"))


def test_it_answers_as_the_same_measurements_in_a_file(convnet: SearchSpace, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.jsonl")
    bank.append(record(convnet, seed, latency_ms=1.0 + seed) for seed in range(3))
    bank.append(record(convnet, seed, device="phone", latency_ms=5.0 + seed) for seed in (0, 2))
    banks: list[LatencyBank] = [matrix_bank(convnet), bank]
    for devices in (None, ["phone"], ["phone", "board"]):
        ours, theirs = (one.latencies(convnet, devices) for one in banks)
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        np.testing.assert_array_equal(ours.latency_ms, theirs.latency_ms)
        assert list(ours.devices) == [name.partition("@")[0] for name in theirs.devices]


def test_of_another_space_phase_or_batch_it_knows_nothing(convnet: SearchSpace, tiny: SearchSpace) -> None:
    bank = matrix_bank(convnet)
    for found in (bank.latencies(tiny), bank.latencies(convnet, phase="other"), bank.latencies(convnet, batch=2)):
        assert found.devices == ()
        assert found.latency_ms.shape == (0, 0)
        assert len(found.codes) == 0


def test_equal_architectures_become_their_median(convnet: SearchSpace) -> None:
    codes = convnet.codes(convnet.sample(2, seed=0))[[0, 1, 0, 0]]
    latency_ms = np.array([[1.0, np.nan], [4.0, 8.0], [2.0, 6.0], [9.0, np.nan]])
    found = MatrixBank.of(convnet, codes, latency_ms, ("a", "b")).latencies(convnet)
    expected = {tuple(codes[0]): [2.0, 6.0], tuple(codes[1]): [4.0, 8.0]}
    assert {
        tuple(code): row for code, row in zip(found.codes.tolist(), found.latency_ms.tolist(), strict=True)
    } == expected


def test_a_predictor_takes_it(convnet: SearchSpace) -> None:
    bank = matrix_bank(convnet)
    predictor = get("roofline")(convnet, bank=bank)
    assert predictor.bank is bank
    assert predictor.blank().bank is bank


def test_bad_input_raises(convnet: SearchSpace) -> None:
    codes = convnet.codes(convnet.sample(2, seed=0))
    with pytest.raises(ValueError, match=r"2 architectures on 1 devices .* got shape \(2, 2\)"):
        MatrixBank.of(convnet, codes, np.ones((2, 2)), ("a",))
    with pytest.raises(ValueError, match="different names"):
        MatrixBank.of(convnet, codes, np.ones((2, 2)), ("a", "a"))
    for wrong in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="not a positive finite number"):
            MatrixBank.of(convnet, codes, np.array([[1.0], [wrong]]), ("a",))
    with pytest.raises(ValueError, match=r"no latencies of 'bord' for space 'convnet' \(did you mean 'board'\?\)"):
        matrix_bank(convnet).latencies(convnet, ["bord"])
