"""Filling a report from a run."""

from __future__ import annotations

from typing import Any

from latency_predictors.calibration import latencies_ms
from nas.export.bundle import Bundle
from nas.export.verification import Verification
from nas.files import read_json
from nas.report.data import CalibrationData, Chosen, Objective, ReportData, TrainingRow
from nas.stages import Stages, architecture_count, versions


def gather(stages: Stages) -> ReportData:
    """All that a run has so far; parts that are still missing are left out."""
    run, space = stages.run, stages.space
    evaluations = stages.evaluations() if stages.searched else []
    training = run.training() if run.training_file.exists() else {"epochs": [], "validation_accuracy": {}}
    return ReportData(
        title=stages.config.name,
        facts=tuple(_facts(stages, training).items()),
        objectives=tuple(Objective(m.name, m.direction, m.unit) for m in stages.objectives),
        limits={limit.metric: limit.value for limit in stages.limits if limit.sign > 0},
        evaluations=tuple(evaluations),
        space=space,
        calibrations=tuple(_calibration(stages, name) for name in stages.config.devices),
        training=tuple(
            TrainingRow(row["step"], row["epoch"], row["seconds"], row["losses"]) for row in training["epochs"]
        ),
        subnet_accuracy=training["validation_accuracy"],
        chosen=_chosen(stages),
    )


def _facts(stages: Stages, training: dict[str, Any]) -> dict[str, str]:
    config, task = stages.config, stages.task
    seconds = training["epochs"][-1]["seconds"] if training["epochs"] else 0.0
    facts = {
        "search space": f"{stages.space.name}, {architecture_count(stages.space)} architectures",
        "images": (
            f"{config.task.data}: {len(task.train)} for training, {len(task.validation)} for validation, "
            f"{len(task.test)} for the final test, {len(task.classes)} classes"
        ),
        "training": f"{config.training.epochs} epochs in {seconds:.0f} s",
        "seed": str(config.seed),
        **{f"limit of {limit.metric}": f"at least {limit.value:g}" for limit in stages.limits if limit.sign < 0},
    }
    verification = _verification(stages)
    if verification and "test_accuracy" in verification.measured:
        facts["accuracy of the chosen network on test images"] = f"{verification.measured['test_accuracy']:.2%}"
    for name, calibration in stages.calibrations.items():
        mark = calibration.fingerprint
        facts[f"device {name}"] = ", ".join(f"{key} {mark[key]}" for key in ("processor", "runtime") if key in mark)
    return {**facts, "versions": ", ".join(f"{name} {number}" for name, number in versions().items())}


def _calibration(stages: Stages, name: str) -> CalibrationData:
    calibration = stages.calibrations[name]
    reference = calibration.predictor.predict(calibration.reference_codes)
    holdout = calibration.predictor.predict(calibration.holdout_codes)
    return CalibrationData(
        device=name,
        predictor=calibration.predictor.name,
        reference_measured_ms=latencies_ms(calibration.reference),
        reference_predicted_ms=reference.mean_ms,
        holdout_measured_ms=latencies_ms(calibration.holdout),
        holdout_predicted_ms=holdout.mean_ms,
        holdout_low_ms=holdout.low_ms,
        holdout_high_ms=holdout.high_ms,
        errors=calibration.errors,
        macs_spearman=calibration.macs_spearman,
    )


def _chosen(stages: Stages) -> Chosen | None:
    run = stages.run
    if not run.bundle.exists():
        return None
    bundle, verification = Bundle(run.bundle), _verification(stages)
    return Chosen(bundle.architecture, bundle.manifest["metrics"], verification.checks if verification else ())


def _verification(stages: Stages) -> Verification | None:
    """That of the present export; `None` when it was not verified."""
    run = stages.run
    if not (run.bundle.exists() and run.verification_file.exists()):
        return None
    stored = read_json(run.verification_file)
    current = stored["files"] == Bundle(run.bundle).manifest["files"]
    return Verification.from_document(stored["verification"]) if current else None
