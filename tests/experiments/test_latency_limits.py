"""Networks picked at latency limits: the stand-ins, the optimiser against brute force, the stages, the figures."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import search_spaces
from experiments.latency_limits import picking
from experiments.latency_limits.figures import figures, kept, mean, tables
from experiments.latency_limits.methods import CONSTRAINTS, METHODS, draw_limits, without
from experiments.latency_limits.picking import Pool, StandIns, search
from experiments.latency_limits.stages import Settings, Trial
from latency_predictors import Bank, Device
from nas.search.feasibility import all_codes
from search_spaces import SearchSpace

LIMITS = 4
SMALL: dict[str, Any] = {
    "resolutions": [8],
    "stem": 8,
    "widths": [[12, 16], [16, 24]],
    "strides": [1, 2],
    "depths": [[1, 2], [1]],
    "group_width": 4,
    "head": 32,
}


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get("convnet")


@pytest.fixture(scope="module")
def pool(space: SearchSpace) -> Pool:
    rng = np.random.default_rng(0)
    return Pool.draw(StandIns.draw(space, LIMITS, rng), 300, rng)


def test_one_value_is_the_same_by_matrix_and_by_owner(pool: Pool) -> None:
    owners = np.arange(len(pool.codes)) % LIMITS
    np.testing.assert_allclose(
        pool.stand_ins.values(pool.codes, owners), pool.values[np.arange(len(pool.codes)), owners]
    )


def test_more_is_better_at_every_limit(space: SearchSpace, pool: Pool) -> None:
    """The next option of an ordered choice, all else equal, is worth more; so is a deeper network."""
    values = pool.stand_ins.matrix
    for column, choice in enumerate(space.choices):
        rows = space.random_codes(50, np.random.default_rng(column))
        able = space.active(rows)[:, column] & (rows[:, column] + 1 < len(choice.options))
        larger = rows[able].copy()
        larger[:, column] += 1
        if choice.ordered:
            assert (values(space.canonical(larger)) > values(rows[able])).all(), choice.name


def test_limits_differ_in_what_they_like(pool: Pool) -> None:
    small = pool.values[pool.values[:, 0] < np.median(pool.values[:, 0])]
    assert np.asarray(np.corrcoef(small.T))[~np.eye(LIMITS, dtype=bool)].max() < 0.95


def test_search_finds_what_brute_force_finds() -> None:
    """In a space small enough to go through, from a pool of a few networks."""
    small = search_spaces.get("convnet", **SMALL)
    assert small.size < 20_000
    rng = np.random.default_rng(0)
    pool = Pool.draw(StandIns.draw(small, LIMITS, rng), 20, rng)
    everything = all_codes(small)
    macs = small.macs(everything)
    limits = np.quantile(macs, [0.2, 0.4, 0.6, 0.8])
    codes, found = search(pool, limits, small.macs, rng)
    best = np.where(macs[:, None] <= limits, pool.stand_ins.matrix(everything), -np.inf).max(axis=0)
    assert found.all()
    assert (small.macs(codes) <= limits).all()
    np.testing.assert_allclose(pool.stand_ins.values(codes, np.arange(LIMITS)), best)


def test_where_nothing_keeps_the_limit_nothing_is_found(space: SearchSpace, pool: Pool) -> None:
    least = space.macs(space.codes([space.smallest()]))[0]
    _, found = search(pool, np.array([0.1, 1.0, 0.2, 2.0]) * least, space.macs, np.random.default_rng(0))
    assert found.tolist() == [False, True, False, True]


def test_limits_are_between_the_quantiles_and_even_in_the_logarithm() -> None:
    latencies = np.exp(np.linspace(np.log(1), np.log(100), 1001))
    limits = draw_limits(latencies, 20_000, np.random.default_rng(0))
    assert limits.min() > 100**0.0499
    assert limits.max() < 100**0.9501
    assert np.median(np.log(limits)) == pytest.approx(np.log(10), abs=0.05)


def test_the_bank_holds_nothing_of_the_device(space: SearchSpace) -> None:
    names = {name.partition("@")[0] for name in without(Bank.shipped(), "openvino", space).latencies(space).devices}
    assert "openvino" not in names
    assert {"openvino-2t", "mnn"} <= names
    assert len(names) == len(Bank.shipped().devices()) - 1


def test_figures_of_picks() -> None:
    found = kept(np.array([0.5, 0.9, 1.0, 1.3, np.nan]), np.ones(5))
    assert found == pytest.approx(
        {"picks": 4, "met": 0.75, "ratio_median": 0.95, "ratio_q90": 1.21, "ratio_max": 1.3, "slack": 5.0}
    )
    with pytest.raises(ValueError, match="no pick was measured"):
        kept(np.array([np.nan]), np.ones(1))


@pytest.fixture
def trial(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(picking, "GENERATIONS", 2)
    return Trial(Device("onnxruntime"), pool, Settings(LIMITS, 5, 4, 0), tmp_path, max_seconds=0.0)


def test_a_killed_run_goes_on_and_measures_nothing_twice(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Trial._check
    monkeypatch.setattr(Trial, "_check", lambda self: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        trial.run()
    assert list(trial.state()) == ["settings", "calibration", "picks"]
    before = trial.path.read_text()
    monkeypatch.setattr(Trial, "_check", check)
    trial.run()
    state = trial.state()
    assert {name: state[name] for name in json.loads(before)} == json.loads(before)
    records = len(Bank(trial.folder / "bank.jsonl").records())
    trial.run()
    assert len(Bank(trial.folder / "bank.jsonl").records()) == records
    found = {"onnxruntime": figures(trial)}
    assert set(found["onnxruntime"]["methods"]) == {method.name for method in METHODS}
    picks = mean(found)["gaussian_process"]
    assert set(CONSTRAINTS) < set(picks)
    assert 0 <= picks["mean"]["met"] <= 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "| onnxruntime |" in tables(found)


def test_picks_keep_the_limits_by_what_was_predicted(trial: Trial) -> None:
    trial.run()
    state, predictors = trial.state()["picks"], trial.predictors()
    for method, picks in state["codes"].items():
        for constraint, rows in picks.items():
            for row, limit_ms in zip(rows, state["limits_ms"], strict=True):
                if row is not None:
                    assert CONSTRAINTS[constraint](predictors[method].predict(np.array([row])))[0] <= limit_ms


def test_a_run_with_other_settings_is_refused(trial: Trial) -> None:
    trial.path.write_text(json.dumps({"settings": {"limits": 7}}))
    content = trial.path.read_text()
    with pytest.raises(ValueError, match="other settings: choose another folder"):
        trial.run()
    assert trial.path.read_text() == content
    assert os.listdir(trial.folder) == [trial.path.name]
    assert "settings" in replace(trial, folder=trial.folder / "other").state()
