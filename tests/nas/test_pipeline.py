from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from nas import pipeline
from nas.config import load
from nas.errors import CheckFailed, UsageError
from nas.pipeline import Result
from nas.report.gather import gather
from nas.runs import Run
from nas.stages import Stages

TINY = Path(__file__).parents[1] / "e2e" / "tiny.yaml"


def run_again(path: Path, *overrides: str) -> Result:
    return nas.run(TINY, f"directory={path}", *overrides)


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the named parts of the pipeline fail when they are used."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was to be left out")

    for name in names:
        monkeypatch.setattr(pipeline, name, never)


def test_python_interface(finished: Path, tmp_path: Path) -> None:
    result = run_again(finished)
    evaluations = nas.search(TINY, f"directory={finished}")
    assert [evaluation.number for evaluation in evaluations] == list(range(12))
    assert {member.number for member in result.report.front} <= {evaluation.number for evaluation in evaluations}
    bundle = nas.export(finished, tmp_path / "small", ["accuracy >= 0"], minimize="macs_m")
    kept = [evaluation for evaluation in evaluations if evaluation.feasible]
    assert bundle.manifest["metrics"]["macs_m"] == min(evaluation.metrics["macs_m"] for evaluation in kept)
    verification = nas.verify(bundle.path)
    assert verification.measured["accuracy"] == pytest.approx(bundle.manifest["metrics"]["accuracy"], abs=0.01)


def test_functions_and_packages_of_one_name() -> None:
    """`nas.search` and `nas.export` are functions and packages, whichever is used first."""
    script = """
import nas
assert all(callable(part) for part in (nas.run, nas.search, nas.export, nas.verify))
from nas.search.limits import parse
from nas.export.check import Check
import nas.search.feasibility, nas.export.selection
assert all(callable(part) for part in (nas.run, nas.search, nas.export, nas.verify))
from nas.search.storage import load
from nas.export.bundle import Bundle
from nas import search, export
assert callable(search) and callable(export) and callable(load) and isinstance(Bundle, type)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_complete_run_repeats_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "deliver", "verify")
    monkeypatch.setattr(Stages, "calibrate_device", property(lambda _: pytest.fail("it was calibrated again")))
    weights = (finished / "supernet.safetensors").stat().st_mtime_ns
    result = run_again(finished)
    assert result.verification.passed
    assert (finished / "supernet.safetensors").stat().st_mtime_ns == weights


def test_larger_budget_goes_on(copied: Path) -> None:
    before = [(e.number, e.architecture.key, e.metrics) for e in run_again(copied).report.evaluations]
    after = [
        (e.number, e.architecture.key, e.metrics) for e in run_again(copied, "search.evaluations=15").report.evaluations
    ]
    assert after[:12] == before
    assert len({key for _, key, _ in after}) == 15


def test_other_wish_gives_another_bundle(copied: Path) -> None:
    first = run_again(copied, "export.minimize=macs_m").bundle.architecture
    result = run_again(copied, "export.maximize=macs_m")
    kept = [e for e in result.report.evaluations if e.feasible]
    assert result.bundle.manifest["metrics"]["macs_m"] == max(e.metrics["macs_m"] for e in kept)
    assert result.bundle.architecture != first
    assert result.report.chosen is not None
    assert result.report.chosen.architecture == result.bundle.architecture
    stored = json.loads((copied / "exports" / "chosen.verification.json").read_text())
    assert stored["files"] == result.bundle.manifest["files"]


@pytest.mark.parametrize("damage", ["model.onnx", "manifest.json"])
def test_damaged_bundle_is_exported_again(copied: Path, damage: str) -> None:
    file = copied / "exports" / "chosen" / damage
    before = file.read_bytes()
    file.write_bytes(before[: len(before) // 2])
    result = run_again(copied)
    result.bundle.check_files()
    assert result.verification.passed
    assert file.read_bytes() == before


def test_failed_verification_is_told_and_done_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copied / "exports" / "chosen.verification.json"
    stored = json.loads(file.read_text())
    stored["verification"]["checks"][0]["passed"] = False
    file.write_text(json.dumps(stored))
    result = run_again(copied)
    assert result.verification.passed
    assert json.loads(file.read_text())["verification"]["checks"][0]["passed"]

    file.unlink()
    failing = result.verification.from_document(stored["verification"])
    monkeypatch.setattr(pipeline, "verify", lambda *_: failing)
    again = run_again(copied)
    assert not again.verification.passed
    assert (copied / "report.html").exists()


def test_report_shows_no_checks_of_another_bundle(copied: Path) -> None:
    chosen = gather(Stages(*Run.existing(copied))).chosen
    assert chosen is not None
    assert len(chosen.verification) == 6
    verified = chosen.architecture
    for wish in ({"maximize": "macs_m"}, {"minimize": "macs_m"}):  # one of them is another network
        nas.export(copied, copied / "exports" / "chosen", **wish)
        chosen = gather(Stages(*Run.existing(copied))).chosen
        assert chosen is not None
        if chosen.architecture != verified:
            break
    assert chosen.architecture != verified
    assert chosen.verification == ()


def test_hopeless_limit_stops_before_training(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "hopeless"
    shutil.copytree(finished / "calibration", path / "calibration")
    with pytest.raises(CheckFailed, match=r"'macs_m <= 1e-06': the nearest network has 0\.05"):
        run_again(path, "search.limits=[macs_m <= 1e-6]")
    assert sorted(file.name for file in path.iterdir()) == ["bank.jsonl", "calibration", "config.yaml", "locks"]


def test_data_that_does_not_fit_the_space(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(UsageError, match=r"classes = 10, the space 7; set space\.options\.classes=10"):
        run_again(path, "space.options.classes=7")
    assert not (path / "calibration").exists()


def test_search_without_training_leaves_no_study(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished / "calibration", path / "calibration")
    with pytest.raises(UsageError, match="no trained supernet yet; 'nas train' makes it"):
        nas.search(TINY, f"directory={path}")
    assert not (path / "study.journal").exists()


def test_profile_brackets_all_networks(finished: Path) -> None:
    stages = Stages(*Run.existing(finished))
    ranges = pipeline.profile_space(stages, samples=300)
    space = stages.space
    costs = [space.workload(architecture).costs() for architecture in (space.smallest(), space.largest())]
    macs = [sum(value for name, value in cost.items() if name.startswith("macs_")) / 1e6 for cost in costs]
    found = ranges["macs_m"]
    assert [found["smallest"], found["largest"]] == pytest.approx(macs)
    assert [found["min"], found["max"]] == pytest.approx(macs)
    assert set(ranges) == {"macs_m", "parameters_m", "memory_mb", "size_mb", "latency_ms.local"}
    for figures in ranges.values():
        assert figures["min"] < figures["median"] < figures["max"]


def test_limits_of_study_and_wish_are_joined(finished: Path) -> None:
    stages = Stages(*Run.existing(finished))
    (limit,) = map(str, stages.limits)
    _, alone = pipeline.choose(stages, [limit])
    assert alone == [limit]
    chosen, both = pipeline.choose(stages, ["accuracy >= 0.01 and macs_m <= 100 %"], minimize="latency_ms.local")
    assert both[:2] == [limit, "accuracy >= 0.01"]
    assert both[2].startswith("macs_m <= ")
    kept = [e for e in stages.evaluations() if e.feasible and e.metrics["accuracy"] >= 0.01]
    assert chosen.metrics["latency_ms.local"] == np.min([e.metrics["latency_ms.local"] for e in kept])


def test_manifest_is_complete(finished: Path) -> None:
    manifest: dict[str, Any] = json.loads((finished / "exports" / "chosen" / "manifest.json").read_text())
    config = load(TINY)
    calibration = json.loads((finished / "calibration" / "local.json").read_text())
    assert manifest["run"] == "tiny"
    assert manifest["seed"] == config.seed
    assert manifest["task"] == config.task.model_dump(mode="json")
    assert manifest["versions"].keys() >= {"nasmyth", "torch", "optuna", "onnx", "onnxruntime"}
    known = manifest["devices"]["local"]
    assert known["fingerprint"] == calibration["fingerprint"]
    assert 0 < known["low_ms"] < known["mean_ms"] < known["high_ms"]
    assert [reference["latency_ms"] for reference in known["references"]] == [
        measured["latency_ms"] for measured in calibration["reference"][:3]
    ]
    assert str(finished) not in json.dumps(manifest)
