"""The contract of a latency predictor: ten samples of a device nobody had must help, and intervals must be honest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import search_spaces
from latency_predictors import LatencyPredictor, MatrixBank, get, load, reference_set
from latency_predictors.matrix_bank import LatencyBank
from latency_predictors.metrics import coverage, mdape, spearman
from nas.testing.speed import slowdown
from search_spaces import SearchSpace
from search_spaces.space import Codes
from search_spaces.workload import Workload


@dataclass(frozen=True)
class SimulatedDevice:
    """A device that charges a random positive price for every cost of a network.

    Attributes:
        ms_per_unit: price of each feature, shape (f,).
        overhead_ms: of a call.
        noise: standard deviation of the logarithm of a measurement.
        rng: of that noise.
    """

    ms_per_unit: NDArray[np.float64]
    overhead_ms: float
    noise: float
    rng: np.random.Generator

    @classmethod
    def draw(cls, features: NDArray[np.float64], seed: int) -> SimulatedDevice:
        """A device on which, for the average of `features` (n, f), each cost takes around 1 ms, give or take a factor
        of e, and measurements scatter by 2 to 5 %."""
        rng = np.random.default_rng(seed)
        average = features.mean(axis=0)
        prices = np.exp(rng.standard_normal(len(average) + 1))
        per_unit = np.divide(prices[:-1], average, out=np.zeros_like(average), where=average > 0)
        return cls(per_unit, float(prices[-1]), float(rng.uniform(0.02, 0.05)), rng)

    def measure(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noisy latencies in milliseconds, shape (n,)."""
        exact_ms = features @ self.ms_per_unit + self.overhead_ms
        return np.asarray(exact_ms * np.exp(self.noise * self.rng.standard_normal(len(features))))

    def time(self, workloads: Sequence[Workload]) -> NDArray[np.float64]:
        """What `LatencyPredictor.measure_parts` asks for."""
        return self.measure(np.array([[*workload.costs().values()] for workload in workloads], dtype=np.float64))


def simulated_bank(space: SearchSpace, codes: Codes, devices: int, phase: str = "inference") -> MatrixBank:
    """Latencies of architectures on simulated devices, none of which has one of the seeds that the contract tests with.

    Args:
        space: of the architectures.
        codes: shape (n, number of choices).
        devices: how many.
        phase: of the workload.
    """
    features = space.features(codes, phase)
    drawn = [SimulatedDevice.draw(features, 10_000 + seed) for seed in range(devices)]
    latency_ms = np.column_stack([device.measure(features) for device in drawn])
    return MatrixBank.of(space, codes, latency_ms, [f"simulated_{seed}" for seed in range(devices)], phase)


class LatencyPredictorContract:
    """Subclass it as `TestMyPredictor` with a `predictor`; override the class-scoped fixture `space` for another
    space, and the class method `bank` for a predictor that learns from other devices.

    Attributes:
        predictor: name for `latency_predictors.get`.
        phase: of the space.
        samples: how many measurements a device gives.
        devices: number of simulated devices.
    """

    predictor: str
    phase: str = "inference"
    samples: int = 10
    devices: int = 200

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get("convnet")

    @pytest.fixture(scope="class")
    @classmethod
    def unseen(cls, space: SearchSpace) -> Codes:
        """Architectures to predict, shape (150, number of choices)."""
        return space.random_codes(150, np.random.default_rng(123))

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, space: SearchSpace) -> Codes:
        return space.codes(reference_set(space, cls.phase, cls.samples))

    @pytest.fixture(scope="class")
    @classmethod
    def trials(cls, space: SearchSpace, reference: Codes, unseen: Codes) -> list[tuple[Any, NDArray[np.float64]]]:
        """For every simulated device: the prediction after calibration, and what the device then measures."""
        features, predictor = space.features(unseen, cls.phase), cls.new(space)
        found = []
        for seed in range(cls.devices):
            device = SimulatedDevice.draw(features, seed)
            predictor.measure_parts(device.time)
            predictor.calibrate(reference, device.measure(space.features(reference, cls.phase)))
            found.append((predictor.predict(unseen), device.measure(features)))
        return found

    @classmethod
    def new(cls, space: SearchSpace) -> LatencyPredictor:
        """A predictor that knows no device."""
        return get(cls.predictor)(space, cls.phase, cls.bank(space))

    @classmethod
    def bank(cls, space: SearchSpace) -> LatencyBank | None:
        """Other devices to learn from, such as `simulated_bank`."""
        return None

    def calibrated(self, space: SearchSpace, reference: Codes, seed: int = 0) -> LatencyPredictor:
        """A predictor that knows the simulated device `seed`."""
        features = space.features(reference, self.phase)
        predictor, device = self.new(space), SimulatedDevice.draw(features, seed)
        predictor.measure_parts(device.time)
        predictor.calibrate(reference, device.measure(features))
        return predictor

    # ------------------------------------------------------------------ honesty

    def test_it_ranks_better_than_macs(
        self, space: SearchSpace, unseen: Codes, trials: list[tuple[Any, NDArray[np.float64]]]
    ) -> None:
        macs = space.macs(unseen, self.phase)
        ours = np.mean([spearman(prediction.mean_ms, measured_ms) for prediction, measured_ms in trials])
        without = np.mean([spearman(macs, measured_ms) for _, measured_ms in trials])
        assert ours > without

    def test_its_error_is_half_that_of_the_best_constant(self, trials: list[tuple[Any, NDArray[np.float64]]]) -> None:
        ours = np.mean([mdape(prediction.mean_ms, measured_ms) for prediction, measured_ms in trials])
        constants = [
            min(mdape(np.full_like(measured_ms, constant), measured_ms) for constant in measured_ms[::3])
            for _, measured_ms in trials
        ]
        assert ours < 0.5 * np.mean(constants)

    def test_intervals_cover_nine_of_ten_measurements(self, trials: list[tuple[Any, NDArray[np.float64]]]) -> None:
        covered = [coverage(prediction.low_ms, prediction.high_ms, measured_ms) for prediction, measured_ms in trials]
        assert 0.85 <= np.mean(covered) <= 0.97

    def test_intervals_hold_the_mean_and_are_useful(self, trials: list[tuple[Any, NDArray[np.float64]]]) -> None:
        widths = []
        for prediction, _ in trials:
            assert (prediction.low_ms < prediction.mean_ms).all()
            assert (prediction.mean_ms < prediction.high_ms).all()
            assert (prediction.low_ms > 0).all()
            widths.append(np.median((prediction.high_ms - prediction.low_ms) / prediction.mean_ms))
        assert np.mean(widths) < 0.5

    # ---------------------------------------------------------------- behaviour

    def test_saving_changes_nothing(self, space: SearchSpace, reference: Codes, unseen: Codes, tmp_path: Path) -> None:
        predictor = self.calibrated(space, reference)
        predictor.save(tmp_path / "predictor.json")
        before, after = predictor.predict(unseen), load(tmp_path / "predictor.json").predict(unseen)
        np.testing.assert_array_equal(before.mean_ms, after.mean_ms)
        np.testing.assert_array_equal(before.low_ms, after.low_ms)
        np.testing.assert_array_equal(before.high_ms, after.high_ms)

    def test_calibrating_again_forgets_the_first_device(
        self, space: SearchSpace, reference: Codes, unseen: Codes
    ) -> None:
        features = space.features(reference, self.phase)
        once, twice = self.calibrated(space, reference, seed=1), self.calibrated(space, reference, seed=2)
        device = SimulatedDevice.draw(features, 1)
        twice.measure_parts(device.time)
        twice.calibrate(reference, device.measure(features))
        np.testing.assert_allclose(once.predict(unseen).mean_ms, twice.predict(unseen).mean_ms, rtol=1e-9)

    def test_rows_are_predicted_independently(self, space: SearchSpace, reference: Codes, unseen: Codes) -> None:
        predictor = self.calibrated(space, reference)
        together, alone = predictor.predict(unseen), predictor.predict(unseen[7:8])
        assert alone.mean_ms.shape == (1,)
        np.testing.assert_allclose(together.mean_ms[7:8], alone.mean_ms, rtol=1e-9)
        assert predictor.predict(unseen[:0]).mean_ms.shape == (0,)

    def test_choices_without_effect_change_nothing(self, space: SearchSpace, reference: Codes) -> None:
        radices = [len(choice.options) for choice in space.choices]
        codes = np.random.default_rng(0).integers(0, radices, size=(100, len(radices)))
        predictor = self.calibrated(space, reference)
        canonical = predictor.predict(space.canonical(codes))
        np.testing.assert_allclose(predictor.predict(codes).mean_ms, canonical.mean_ms, rtol=1e-9)

    def test_a_hundred_thousand_architectures_take_a_second(self, space: SearchSpace, reference: Codes) -> None:
        predictor = self.calibrated(space, reference)
        codes = space.random_codes(100_000, np.random.default_rng(0))
        predictor.predict(codes)  # fills the tables of the slots
        seconds = []
        with threadpool_limits(1):
            for _ in range(3):
                started = thread_time()  # of one core, whatever else the machine does
                predictor.predict(codes)
                seconds.append(thread_time() - started)
        assert min(seconds) < slowdown()

    # ---------------------------------------------------------------- wrong use

    def test_an_uncalibrated_predictor_raises(self, space: SearchSpace, unseen: Codes, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="calibrate"):
            self.new(space).predict(unseen)
        with pytest.raises(RuntimeError, match="calibrate"):
            self.new(space).save(tmp_path / "predictor.json")

    def test_an_unknown_phase_raises(self, space: SearchSpace) -> None:
        with pytest.raises(ValueError, match="phase 'training'"):
            get(self.predictor)(space, "training")

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, -1.0])
    def test_impossible_latencies_raise(self, space: SearchSpace, reference: Codes, wrong: float) -> None:
        measured_ms = np.ones(len(reference))
        measured_ms[3] = wrong
        with pytest.raises(ValueError, match="positive finite"):
            self.new(space).calibrate(reference, measured_ms)

    def test_wrong_shapes_raise(self, space: SearchSpace, reference: Codes) -> None:
        ones = np.ones(len(reference))
        with pytest.raises(ValueError, match="columns"):
            self.new(space).calibrate(reference[:, :-1], ones)
        with pytest.raises(ValueError, match=r"shape \(9,\)"):
            self.new(space).calibrate(reference, ones[:-1])
        few = self.new(space).min_samples - 1
        if few >= 0:
            with pytest.raises(ValueError, match="measurements or more"):
                self.new(space).calibrate(reference[:few], ones[:few])
        with pytest.raises(ValueError, match="columns"):
            self.calibrated(space, reference).predict(reference[:, :-1])
