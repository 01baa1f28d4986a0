"""A run whose objectives and limits are more than accuracy and latency."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nas
from latency_predictors import Calibration, Device
from nas.errors import UsageError
from nas.pipeline import Result

TINY = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
QUICK = ("calibration.samples=4", "calibration.holdout=3", "calibration.max_seconds=0.5")
LIMITS = ("size_mb <= 90 %", "load_ms.local <= 1e4", "peak_memory_mb.local <= 1e4")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return nas.run(
        TINY,
        f"directory={tmp_path_factory.mktemp('quantities')}",
        *QUICK,
        "search.objectives=[accuracy, latency_ms.local, peak_memory_mb.local]",
        f"search.limits={json.dumps(LIMITS)}",
        "search.evaluations=6",
        "training.epochs=1",
    )


def test_they_are_predicted_for_every_network(result: Result) -> None:
    calibration = Calibration.load(result.path / "calibration" / "local.json")
    assert list(calibration.fits) == ["latency_ms", "peak_memory_mb", "load_ms"]
    space, done = calibration.predictor.space, result.report.evaluations
    assert len(done) == 6
    codes = space.codes([evaluation.architecture for evaluation in done])
    for name, fit in calibration.fits.items():
        unit = name.rpartition("_")[2]
        prediction = fit.predictor.predict(codes)
        high = name.replace(f"_{unit}", f"_high_{unit}")
        np.testing.assert_allclose([e.metrics[f"{name}.local"] for e in done], prediction.mean_ms)
        np.testing.assert_allclose([e.metrics[f"{high}.local"] for e in done], prediction.upper_ms(0.99))
    assert [objective.name for objective in result.report.objectives][-1] == "peak_memory_mb.local"
    largest_mb = result.report.limits["size_mb"]
    assert all(e.feasible == (e.metrics["size_mb"] <= largest_mb) for e in done)


def test_they_are_verified_and_reported(result: Result) -> None:
    checks = {check.name: check.passed for check in result.verification.checks}
    for name in ("size_mb", "load_ms.local", "peak_memory_mb.local"):
        assert checks[f"limit on {name}"]
    assert result.verification.measured["peak_memory_mb"] > 1
    known = result.bundle.manifest["devices"]["local"]["quantities"]
    assert known.keys() == {"peak_memory_mb", "load_ms"}
    assert 0 < known["load_ms"]["low"] < known["load_ms"]["mean"] < known["load_ms"]["high"]
    assert [data.quantity for data in result.report.calibrations] == ["latency_ms", "peak_memory_mb", "load_ms"]
    page = (result.path / "report.html").read_text()
    for text in ("Peak memory (local), MB", "measured load time, ms", "peak_memory_mb on local, chosen network"):
        assert text in page, text


def test_one_that_is_wanted_later_is_measured_then(copied: Path) -> None:
    before = json.loads((copied / "calibration" / "local.json").read_text())
    result = nas.run(TINY, f"directory={copied}", "export.where=[first_ms.local <= 1e4]")
    after = json.loads((copied / "calibration" / "local.json").read_text())
    assert list(after["quantities"]) == ["first_ms"]
    assert {**after, "quantities": {}} == {**before, "quantities": {}}
    assert "first_ms.local <= 10000" in result.bundle.manifest["limits"]
    assert all(evaluation.metrics["first_ms.local"] > 0 for evaluation in result.report.evaluations)


def test_what_cannot_be_measured_stops_before_anything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASMYTH_HOME", str(tmp_path / "home"))
    Device("broken", energy_command=["/no/such/meter"]).save()
    wishes = ["devices=[local, broken]", "search.objectives=[accuracy, latency_ms.local, energy_mj.broken]"]
    with pytest.raises(
        ValueError, match=r"device 'broken' cannot measure energy_mj: .*'/no/such/meter' failed: No such"
    ):
        nas.run(TINY, f"directory={tmp_path / 'run'}", *wishes)
    assert not (tmp_path / "run" / "calibration").exists()
    with pytest.raises(UsageError, match=r"did you mean 'peak_memory_mb\.local'"):
        nas.run(TINY, f"directory={tmp_path / 'other'}", "search.limits=[peak_memory_md.local <= 5]")
    assert not (tmp_path / "other" / "calibration").exists()
