"""Measuring on, one network at a time, until the predictor expects to be good enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student_t

import search_spaces
from latency_predictors import Calibration, Device, Failure, Measurement, Prediction, calibrate, metrics
from latency_predictors.active import ANCHORS, check, expected_errors, refine
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.measuring import TimingGraphs
from latency_predictors.fit import Fit
from latency_predictors.other_devices import OtherDevices
from latency_predictors.student_t import FREEDOM
from search_spaces import SearchSpace

LOCAL = Device("local")


class Simulated(LocalEngine):
    """A device that charges for MACs, for window size and for each call; every session may be slower than the first.

    Args:
        noise: deviation of the logarithm of a sample beyond the fastest possible.
        slower: by how much all later sessions take longer than the first.
    """

    def __init__(self, noise: float = 0.01, slower: float = 1.0) -> None:
        self.sessions: list[TimingGraphs] = []
        self.failing: int | None = None
        self.marks: dict[str, Any] = {"threads": 1}
        self._noise, self._slower, self._rng = noise, slower, np.random.default_rng(3)

    def exact_ms(self, space: SearchSpace, graphs: TimingGraphs) -> NDArray[np.float64]:
        features = space.features(space.codes(graphs.architectures))
        return np.asarray(0.05 + features[:, 1:4] @ [3e-7, 1e-7, 9e-7])

    def measure(self, device: Device, models: Any, *, progress: Any = None, **protocol: Any) -> Any:
        factor = self._slower if self.sessions else 1.0
        self.sessions.append(models)
        if len(self.sessions) == self.failing:
            return self.marks, [Failure("crash", "it ended by SIGSEGV") for _ in models]
        shape = protocol["rounds"] * protocol["repeats"]
        found = []
        for ms in self.exact_ms(models.space, models):
            samples_ms = factor * ms * np.exp(np.abs(self._noise * self._rng.standard_normal(shape)))
            found.append(Measurement(samples_ms.min(), float(np.median(samples_ms)), tuple(samples_ms), 0.01, True))
        return self.marks, found


def first(space: SearchSpace, engine: Engine, predictor: str = "gaussian_process", **options: Any) -> Calibration:
    options = {"samples": 4, "holdout": 8, "rounds": 4, **options}
    return calibrate(space, LOCAL, predictor, engine=engine, bank=OtherDevices(), **options)


def test_the_expected_error_is_the_median_of_the_distribution_that_has_the_interval() -> None:
    sigma = np.array([0.01, 0.2])
    ends = np.exp(student_t.ppf(0.95, FREEDOM) * sigma)
    errors = np.abs(np.random.default_rng(0).standard_t(FREEDOM, (100_000, 1))) * sigma
    np.testing.assert_allclose(
        expected_errors(Prediction(np.ones(2), 1 / ends, ends)), 100 * np.expm1(np.median(errors, axis=0)), rtol=0.02
    )


def test_it_measures_where_the_interval_is_widest_until_the_error_is_low(tiny: SearchSpace) -> None:
    engine = Simulated()
    before = first(tiny, engine)
    steps: list[tuple[int, int]] = []
    found = refine(before, 2.0, 30, lambda *step: steps.append(step), engine)
    outcome = found.refinement
    assert outcome is not None
    assert outcome.stopped == ""
    assert outcome.expected_error < 2.0
    assert 0 < outcome.added == len(found.reference) - 4 < 26
    assert [done for done, _ in steps] == [*range(5, 5 + outcome.added), 4 + outcome.added]
    assert [len(session) for session in engine.sessions] == [12, *[ANCHORS + 1] * outcome.added]
    # One fewer was not enough, and each was the widest of those that were candidates for long.
    for count in range(4, len(found.reference)):
        predictor = before.predictor.blank()
        predictor.calibrate(found.reference_codes[:count], [one.latency_ms for one in found.reference[:count]])
        wide = expected_errors(predictor.predict(found.reference_codes[count:]))
        assert wide.argmax() == 0
    final = found.predictor.predict(found.holdout_codes)
    assert found.errors == metrics.errors(final, [one.latency_ms for one in found.holdout])
    assert found.holdout == before.holdout
    assert found.errors["mdape"] < before.errors["mdape"]
    everything = np.concatenate([found.reference_codes, found.holdout_codes])
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_it_stops_when_no_more_are_allowed(tiny: SearchSpace) -> None:
    found = refine(first(tiny, engine := Simulated(noise=0.5)), 0.01, 7, engine=engine)
    assert found.refinement is not None
    assert (found.refinement.added, len(found.reference)) == (3, 7)
    assert found.refinement.stopped == "7 networks, as many as are allowed, were not enough"
    assert found.refinement.expected_error > 0.01


def test_a_small_space_ends(tmp_path: Path) -> None:
    space = search_spaces.get(
        "convnet", resolutions=(8,), widths=((16,),), strides=(1,), depths=((1,),), kernels=(3,), head=16
    )
    found = refine(first(space, engine := Simulated(), holdout=3), 1e-6, engine=engine)
    assert len(found.reference) == 6
    assert found.refinement is not None
    assert "no further network" in found.refinement.stopped
    whole = refine(first(space, engine := Simulated(), holdout=5), 1e-6, engine=engine)
    assert len(whole.reference) == 4
    whole.save(tmp_path / "local.json")
    assert Calibration.load(tmp_path / "local.json", space).refinement == whole.refinement


def test_a_machine_that_became_slower_is_seen(tiny: SearchSpace) -> None:
    engine = Simulated(slower=1.4)
    found = refine(first(tiny, engine), 1e-6, 9, engine=engine)
    architectures = tiny.architectures(found.reference_codes)
    exact_ms = engine.exact_ms(tiny, TimingGraphs(tiny, architectures, "inference"))
    np.testing.assert_allclose([one.latency_ms for one in found.reference], exact_ms, rtol=0.02)


def test_what_was_measured_is_kept_when_a_network_fails(tiny: SearchSpace) -> None:
    engine = Simulated()
    engine.failing = 4
    found = refine(first(tiny, engine), 1e-6, 20, engine=engine)
    assert found.refinement is not None
    assert len(found.reference) == 6
    assert "could not be measured" in found.refinement.stopped
    assert "SIGSEGV" in found.refinement.stopped


def test_another_device_raises(tiny: SearchSpace) -> None:
    before = first(tiny, engine := Simulated())
    engine.marks = {"threads": 2}
    with pytest.raises(ValueError, match="has changed while it was measured"):
        refine(before, 1e-6, engine=engine)


def test_all_predictors_are_compared_again(tiny: SearchSpace) -> None:
    engine = Simulated()
    before = first(tiny, engine, "auto", samples=5)
    found = refine(before, 3.0, 20, engine=engine)
    assert before.comparison is not None
    assert found.comparison is not None
    assert found.comparison.entries.keys() == before.comparison.entries.keys()
    assert found.comparison != before.comparison
    assert found.predictor.name == found.comparison.chosen
    assert found.refinement is not None
    assert found.refinement.stopped or found.refinement.expected_error < 3.0


def test_quantities_are_measured_anew(tiny: SearchSpace) -> None:
    before = first(tiny, engine := Simulated())
    stale: Fit = before.fits["latency_ms"]
    found = refine(replace(before, others={"load_ms": stale}), 1e-6, 5, engine=engine)
    assert found.missing(["load_ms"]) == ["load_ms"]


@pytest.mark.parametrize(
    ("until_error", "samples", "message"),
    [(0.0, 9, "above 0 %"), (float("nan"), 9, "above 0 %"), (5.0, 2, "3 samples")],
)
def test_bad_numbers_raise(until_error: float, samples: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(until_error, samples)


def test_a_real_device(tiny: SearchSpace, tmp_path: Path) -> None:
    start = calibrate(tiny, LOCAL, samples=3, holdout=3, rounds=2, repeats=2, max_seconds=0, bank=OtherDevices())
    found = refine(start, 1e-6, 5)
    assert [len(one.samples_ms) for one in found.reference] == [4] * 5
    assert len(found.records()) == 8
    found.save(tmp_path / "local.json")
    again = Calibration.load(tmp_path / "local.json")
    assert again.refinement == found.refinement
    np.testing.assert_array_equal(again.reference_codes, found.reference_codes)
