"""Predictors are compared on the same held-out networks, and the default is kept unless another is clearly better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_rel

from latency_predictors import Calibration, Device, LatencyPredictor, Measurement, Prediction, calibrate, metrics, names
from latency_predictors.comparison import Comparison, compare, contestants, rivals
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.measuring import TimingGraphs
from latency_predictors.other_devices import OtherDevices
from search_spaces import SearchSpace
from search_spaces.space import Codes


class Fixed(LatencyPredictor):
    """Predicts given latencies of the held-out networks."""

    def __init__(self, space: SearchSpace, name: str, mean_ms: NDArray[np.float64]) -> None:
        super().__init__(space)
        self.name, self.mean_ms = name, mean_ms  # type: ignore[misc]

    def _fit(self, codes: Codes, measured_ms: NDArray[np.float64]) -> None:
        if self.name == "picky":
            raise ValueError("needs a bank with more devices")

    def _predict(self, codes: Codes) -> Prediction:
        return Prediction(self.mean_ms, self.mean_ms * 0.9, self.mean_ms * 1.1)

    def _state(self) -> dict[str, Any]:
        return {}

    def _restore(self, state: Any) -> None:
        pass


class Nothing(OtherDevices):
    """No other device."""


def contest(space: SearchSpace, **errors: Sequence[float]) -> tuple[LatencyPredictor, Comparison]:
    """Compares predictors with such errors in log latency, the first of them the default."""
    n = len(next(iter(errors.values())))
    codes, measured_ms = space.random_codes(n, np.random.default_rng(0)), np.linspace(1, 3, n)
    first, *others = [Fixed(space, name, measured_ms * np.exp(error)) for name, error in errors.items()]
    return compare(first, {other.name: other for other in others}, (codes, measured_ms), (codes, measured_ms))


@pytest.mark.parametrize("seed", range(20))
def test_the_default_is_replaced_by_more_than_one_standard_error(tiny: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, other = 0.1 * rng.standard_normal(20), 0.07 * rng.standard_normal(20)
    fitted, comparison = contest(tiny, ours=ours, other=other)
    replaced = ttest_rel(np.abs(ours), np.abs(other)).statistic > 1
    assert comparison.chosen == fitted.name == ("other" if replaced else "ours")
    assert ("expect somewhat larger errors" in comparison.reason) == replaced
    entry = comparison.entries["other"]
    assert entry.log_error == pytest.approx(np.abs(other).mean())
    assert entry.errors == metrics.errors(
        Prediction(*(np.linspace(1, 3, 20) * np.exp(other) * factor for factor in (1, 0.9, 1.1))), np.linspace(1, 3, 20)
    )


def test_the_best_of_those_that_are_better_is_chosen(tiny: SearchSpace) -> None:
    errors = {"ours": [0.3] * 10, "good": [0.2] * 10, "best": [0.1] * 10, "bad": [0.4] * 10}
    assert contest(tiny, **errors)[1].chosen == "best"
    assert contest(tiny, ours=[0.1] * 10, equal=[-0.1] * 10)[1].chosen == "ours"


def test_what_cannot_be_calibrated_is_left_out_with_the_reason(tiny: SearchSpace) -> None:
    _, comparison = contest(tiny, ours=[0.3] * 5, picky=[0.0] * 5)
    assert comparison.chosen == "ours"
    assert comparison.entries["picky"].skipped == "needs a bank with more devices"
    assert comparison.entries["picky"].errors == {}
    assert Comparison.from_document(comparison.document()) == comparison
    with pytest.raises(ValueError, match="more devices"):
        contest(tiny, picky=[0.0] * 5)
    unmade = rivals(["roofline"], tiny, "training", None)["roofline"]
    assert isinstance(unmade, ValueError)


def test_auto_stands_for_all_that_whole_networks_calibrate_in_a_moment() -> None:
    assert contestants("auto")[0] == "gaussian_process"
    assert set(contestants("auto")) == set(names()) - {"help", "lookup_table", "nasflat"}
    assert contestants("lookup_table") == ("lookup_table",)
    with pytest.raises(ValueError, match="did you mean 'roofline'"):
        contestants("rooflin")


def test_a_calibration_is_that_of_the_chosen_one(
    tiny: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that charges what non-negative weights can express, and nothing else."""
    features = tiny.features(tiny.random_codes(200, np.random.default_rng(1)))
    prices = np.divide(1.0, features.mean(axis=0), out=np.zeros(features.shape[1]), where=features.mean(axis=0) > 0)
    prices[:-1] = 0

    def measure(
        engine: LocalEngine, device: Device, graphs: TimingGraphs, **_: Any
    ) -> tuple[dict[str, Any], list[Measurement]]:
        found_ms = tiny.features(tiny.codes(graphs.architectures)) @ prices + 0.5
        return {}, [Measurement(float(ms), float(ms), (float(ms),), 0.01, True) for ms in found_ms]

    monkeypatch.setattr(LocalEngine, "measure", measure)
    found = calibrate(tiny, Device("local"), "auto", samples=10, holdout=8, bank=Nothing())
    comparison = found.comparison
    assert comparison is not None
    assert comparison.chosen == found.predictor.name == "nonnegative"
    assert set(comparison.entries) == set(contestants("auto"))
    for name, entry in comparison.entries.items():
        if entry.skipped:  # without other devices
            assert "device" in entry.skipped
            continue
        alone = calibrate(tiny, Device("local"), name, samples=10, holdout=8, bank=Nothing())
        assert entry.errors == alone.errors
    assert found.errors == comparison.entries["nonnegative"].errors
    found.save(tmp_path / "local.json")
    assert Calibration.load(tmp_path / "local.json").comparison == comparison
