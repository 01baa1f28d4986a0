"""What a method is given, and what is asked of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from few_shot_tables import POOL, QUERIES, fbnet_table, with_column, write
from spy_predictor import Spy

from experiments.few_shot_latency import benchmark
from experiments.few_shot_latency.baselines import BASELINES
from experiments.few_shot_latency.benchmark import Plan, run
from experiments.few_shot_latency.dataset import Dataset, load
from experiments.few_shot_latency.methods import Guess, Method, Scenario
from search_spaces import SearchSpace

PLAN = Plan("spy", ("board", "camera"), ("drone", "phone"), samples=7, draws=3)
METHODS = ["nonnegative", *BASELINES]


@pytest.fixture(scope="module")
def data(fbnet_file: Path) -> Dataset:
    return load("fbnet", str(fbnet_file))


def rows_of(data: Dataset, codes: np.ndarray) -> list[int]:
    known = {tuple(code): row for row, code in enumerate(data.codes.tolist())}
    return [known[tuple(code)] for code in codes.tolist()]


@pytest.mark.parametrize("sample_set", ["reference", "random"])
@pytest.mark.parametrize("protocol", ["help", "all"])
def test_samples_are_counted_truly(data: Dataset, spies: list[Spy], sample_set: str, protocol: str) -> None:
    result = run(data, replace(PLAN, sample_set=sample_set, protocol=protocol))
    (spy,) = spies
    assert len(spy.given) == PLAN.draws * 2
    sampled = []
    for number, (codes, measured_ms) in enumerate(spy.given):
        rows = rows_of(data, codes)
        sampled.append(rows)
        assert len(set(rows)) == result["samples"] == 7
        np.testing.assert_array_equal(measured_ms, data.latency_ms[("drone", "phone")[number % 2]][rows])
        asked = rows_of(data, spy.asked[number])
        if protocol == "help":
            assert max(rows) < POOL
            assert asked == list(range(POOL, POOL + QUERIES))
        else:
            assert sorted(rows + asked) == list(range(POOL + QUERIES))
    # The same for both devices, others in each draw.
    assert sampled[0::2] == sampled[1::2]
    assert len({tuple(sorted(rows)) for rows in sampled}) == PLAN.draws


@pytest.mark.parametrize("protocol", ["help", "all"])
def test_the_bank_holds_the_training_devices_where_the_protocol_knows_them(
    data: Dataset, spies: list[Spy], protocol: str
) -> None:
    run(data, replace(PLAN, protocol=protocol))
    (spy,) = spies
    assert spy.bank is not None
    found = spy.bank.latencies(data.space)
    assert found.devices == ("board", "camera")
    rows = rows_of(data, found.codes)
    assert sorted(rows) == list(range(POOL if protocol == "help" else POOL + QUERIES))
    for name, column in zip(found.devices, found.latency_ms.T, strict=True):
        np.testing.assert_array_equal(column, data.latency_ms[name][rows])


def test_without_training_devices_there_is_no_bank(data: Dataset, spies: list[Spy]) -> None:
    run(data, replace(PLAN, train_devices=()))
    assert spies[0].bank is None


class Recorder(Method):
    """Passes everything on to a method, and writes it down."""

    def __init__(self, method: Method) -> None:
        self.method, self.looks_up_queries, self.min_samples = method, method.looks_up_queries, method.min_samples
        self.samples: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []

    def learn(self, scenario: Scenario) -> None:
        self.method.learn(scenario)

    def choose(self, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.method.choose(rows, n, rng)

    def calibrate(self, rows: np.ndarray, measured_ms: np.ndarray) -> None:
        self.samples.append(rows)
        self.method.calibrate(rows, measured_ms)

    def predict(self, rows: np.ndarray) -> Guess:
        guess = self.method.predict(rows)
        if len(self.predicted) < len(self.samples):
            self.predicted.append(guess.mean_ms)
        return guess


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("sample_set", ["reference", "random"])
def test_no_other_label_of_the_target_changes_a_prediction(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, name: str, sample_set: str
) -> None:
    plan = Plan(name, ("board", "camera", "drone"), ("phone",), samples=6, draws=1, sample_set=sample_set)
    recorders: list[Recorder] = []
    find = benchmark.find_method
    monkeypatch.setattr(benchmark, "find_method", lambda name: recorders.append(Recorder(find(name))) or recorders[-1])
    first = run(data, plan)
    kept = recorders[0].samples[0]
    other = np.random.default_rng(5).permutation(data.latency_ms["phone"]) * 7
    other[kept] = data.latency_ms["phone"][kept]
    second = run(replace(data, latency_ms={**data.latency_ms, "phone": other}), plan)
    np.testing.assert_array_equal(recorders[1].samples[0], kept)
    np.testing.assert_array_equal(recorders[1].predicted[0], recorders[0].predicted[0])
    assert second["devices"]["phone"]["rho"] < first["devices"]["phone"]["rho"]


def test_rows_that_a_device_does_not_have_are_neither_measured_nor_asked_for(
    fbnet_space: SearchSpace, tmp_path: Path, spies: list[Spy]
) -> None:
    table = fbnet_table(fbnet_space)
    latency_ms = table["phone"].to_numpy().copy()
    latency_ms[::2] = np.nan
    data = load("fbnet", str(write(with_column(table, "phone", latency_ms), tmp_path / "t.parquet")))
    result = run(data, replace(PLAN, train_devices=("phone",), test_devices=("drone",)))
    assert len(spies[0].bank.latencies(data.space).codes) == POOL / 2
    assert result["devices"]["drone"]["queries"] == QUERIES
    result = run(data, replace(PLAN, test_devices=("phone",)))
    assert all(row % 2 for codes, _ in spies[1].given for row in rows_of(data, codes))
    assert result["devices"]["phone"]["queries"] == QUERIES / 2
    with pytest.raises(ValueError, match="phone has 30 rows to measure, fewer than 31 samples"):
        run(data, replace(PLAN, test_devices=("phone",), samples=31))
    with pytest.raises(ValueError, match="'ridge_devices' needs the latency of every row on every training device"):
        run(data, replace(PLAN, method="ridge_devices", train_devices=("phone",), test_devices=("drone",)))


def test_the_same_seed_gives_the_same_figures(data: Dataset) -> None:
    plan = replace(PLAN, method="nonnegative", sample_set="random")
    first, again, other = (run(data, replace(plan, seed=seed))["devices"] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_means_are_those_of_devices_and_draws(data: Dataset) -> None:
    plan = replace(PLAN, method="nonnegative", draws=2)
    both = run(data, plan)
    alone = [run(data, replace(plan, test_devices=(device,))) for device in plan.test_devices]
    for name in ("rho", "rho80", "tau", "mdape", "coverage90"):
        expected = np.mean([one["mean"][name] for one in alone])
        assert both["mean"][name] == pytest.approx(expected)
        assert both["devices"]["drone"][name] == alone[0]["mean"][name]
    rho = [both["devices"][device]["rho"] for device in plan.test_devices]
    assert both["geometric_mean_rho"] == pytest.approx(np.sqrt(rho[0] * rho[1]))
    assert both["calibration_ms"] >= both["choice_ms"] > 0
    assert both["architectures_per_s"] > 0


def test_impossible_plans_raise(data: Dataset) -> None:
    for changes, message in (
        ({"train_devices": ("drone",)}, "drone is named twice"),
        ({"test_devices": ()}, "at least one device"),
        ({"samples": -1}, "samples must be 0 or more"),
        ({"draws": 0}, "draws 1 or more"),
        ({"sample_set": "randm"}, r"no sample set 'randm' \(did you mean 'random'"),
        ({"method": "nonnegativ", "samples": 5}, r"no method 'nonnegativ' \(did you mean 'nonnegative'"),
        ({"method": "nonnegative", "samples": 2}, "'nonnegative' needs 3 samples or more"),
        ({"protocol": "hlp"}, r"no protocol 'hlp' \(did you mean 'help'"),
        ({"test_devices": ("phon",)}, r"no device 'phon' \(did you mean 'phone'\?\); it has board, camera"),
        ({"method": "low_rank", "train_devices": ()}, "'low_rank' needs training devices"),
    ):
        with pytest.raises(ValueError, match=message):
            run(data, replace(replace(PLAN, method="macs"), **changes))
