"""A calibration with more than latency: measured of the same networks, fitted, tested, kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_predictors import Calibration, Device, calibrate, metrics
from latency_predictors.devices.engines import LocalEngine
from latency_predictors.devices.quantities import Reading
from latency_predictors.fit import values
from latency_predictors.gaussian_process import GaussianProcess
from search_spaces import SearchSpace

NAMES = ["peak_memory_mb", "load_ms"]


@pytest.fixture(scope="module")
def latency(tiny: SearchSpace) -> Calibration:
    return calibrate(tiny, Device("local"), samples=4, holdout=3, max_seconds=0, rounds=2, repeats=2)


@pytest.fixture(scope="module")
def real(latency: Calibration) -> Calibration:
    """With two quantities of this machine; their values are not judged."""
    return latency.with_quantities(NAMES, max_seconds=0)


def test_every_quantity_has_its_own_predictor(real: Calibration, latency: Calibration, tiny: SearchSpace) -> None:
    assert list(real.fits) == ["latency_ms", *NAMES]
    assert list(latency.fits) == ["latency_ms"]
    assert real.fits["latency_ms"].predictor is latency.predictor
    for name in NAMES:
        fit = real.fits[name]
        assert (len(fit.reference), len(fit.holdout)) == (4, 3)
        alone = GaussianProcess(tiny)
        alone.calibrate(real.reference_codes, values(fit.reference))
        assert alone.document() == fit.predictor.document()
        assert metrics.errors(alone.predict(real.holdout_codes), values(fit.holdout)) == fit.errors
        assert metrics.spearman(tiny.macs(real.holdout_codes), values(fit.holdout)) == fit.macs_spearman
    memory = real.fits["peak_memory_mb"]
    assert memory.quantity.unit == "MB"
    np.testing.assert_allclose(values(memory.reference), values(memory.reference).mean(), rtol=0.5)  # tiny networks
    latencies = [measurement.latency_ms for measurement in real.holdout]
    assert values(real.fits["latency_ms"].holdout).tolist() == latencies


def test_saving_changes_nothing(real: Calibration, tiny: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    real.save(path)
    for space in (None, tiny):
        again = Calibration.load(path, space)
        assert list(again.fits) == list(real.fits)
        for name, fit in again.fits.items():
            for attribute in ("quantity", "reference", "holdout", "errors", "macs_spearman"):
                assert getattr(fit, attribute) == getattr(real.fits[name], attribute), attribute
            assert fit.predictor.document()["state"] == real.fits[name].predictor.document()["state"]
            assert fit.predictor.space is again.predictor.space


def test_files_of_earlier_releases_know_of_latency_only(real: Calibration, tiny: SearchSpace, tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    real.save(path)
    data = json.loads(path.read_text())
    del data["quantities"]
    path.write_text(json.dumps(data))
    old = Calibration.load(path, tiny)
    assert list(old.fits) == ["latency_ms"]
    assert old.missing(["latency_ms", "load_ms", "load_ms", "energy_mj"]) == ["load_ms", "energy_mj"]


def test_they_are_what_the_engine_measures(
    latency: Calibration, tiny: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def measure(
        engine: LocalEngine, device: Device, models: Sequence[bytes], wanted: Sequence[str], **options: Any
    ) -> list[dict[str, Reading]]:
        asked.append((engine, device, wanted, options))
        return [{"load_ms": Reading(number + 1.0, (number + 1.0,))} for number in range(len(models))]

    monkeypatch.setattr(LocalEngine, "measure_quantities", measure)
    engine = LocalEngine()
    fit = latency.with_quantities(["load_ms"], 7.0, engine=engine).fits["load_ms"]
    assert [*values(fit.reference), *values(fit.holdout)] == [1, 2, 3, 4, 5, 6, 7]
    assert asked == [(engine, Device("local"), ["load_ms"], {"seed": 0, "max_seconds": 7.0, "progress": None})]
    latency.with_quantities(["load_ms"])
    assert len(asked) == 2  # from this process when nothing else is said


def test_what_is_known_is_not_measured_again(real: Calibration) -> None:
    again = real.with_quantities(["latency_ms", *NAMES], progress=lambda *_: pytest.fail("something was measured"))
    assert again.others == real.others


def test_wrong_names_and_files_raise(real: Calibration, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'energy_mj'"):
        real.with_quantities(["energy_mk"])
    path = tmp_path / "local.json"
    real.save(path)
    data = json.loads(path.read_text())
    for change, message in (
        ({"load_m": data["quantities"]["load_ms"]}, "did you mean 'load_ms'"),
        ({"load_ms": {}}, "does not hold a calibration"),
        ({"load_ms": data["quantities"]["load_ms"] | {"predictor": {}}}, "not a saved latency predictor"),
    ):
        path.write_text(json.dumps(data | {"quantities": change}))
        with pytest.raises(ValueError, match=message):
            Calibration.load(path)
