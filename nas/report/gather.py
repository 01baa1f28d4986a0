"""Filling a report from a run."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from latency_predictors import Calibration
from latency_predictors.devices.quantities import LATENCY
from latency_predictors.fit import Fit, values
from nas.config import TrainingConfig
from nas.export.bundle import Bundle
from nas.export.verification import Verification
from nas.files import read_json
from nas.report import labels
from nas.report.data import CalibrationData, Chosen, Objective, ReportData, TrainingRow
from nas.runs import Run
from nas.search.measured_names import measured_name
from nas.search.metrics import ACCURACY
from nas.stages import Stages, architecture_count, versions
from nas.targets import Target
from nas.tasks import ImageClassification, Task
from nas.training.log import read_log
from nas.training.strategies import largest_share


def gather(stages: Stages) -> ReportData:
    """All that a run has so far; parts that are still missing are left out."""
    training = _training(stages.run)
    return replace(
        gather_front(stages),
        facts=tuple(_facts(stages, training).items()),
        calibrations=tuple(
            _calibration(target, calibration, fit)
            for target, calibration in stages.calibrations.items()
            for fit in calibration.fits.values()
        ),
        training=tuple(
            TrainingRow(row["step"], row["epoch"], row["seconds"], row["losses"]) for row in training["epochs"]
        ),
        subnets=_validated(training),
    )


def gather_front(stages: Stages) -> ReportData:
    """What the search found and what was exported: all that can be told without reading the task's data."""
    return ReportData(
        title=stages.config.name,
        facts=(),
        objectives=tuple(Objective(m.name, m.direction, m.unit) for m in stages.objectives),
        limits={limit.metric: limit.value for limit in stages.limits if limit.sign > 0},
        evaluations=tuple(stages.evaluations() if stages.searched else []),
        space=stages.space,
        chosen=_chosen(stages),
    )


def _training(run: Run) -> dict[str, Any]:
    """What training gave; while it goes on, and after an interruption, its epochs so far."""
    if run.weights_file.exists() and run.training_file.exists():
        return run.training()
    epochs = [asdict(log) for log in read_log(run.training_log_file)] if run.training_log_file.exists() else []
    return {"epochs": epochs, "unfinished": True}


def _validated(training: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What some networks reach after training, by their names and those of the metrics."""
    earlier = training.get("validation_accuracy", {})  # as runs of earlier releases wrote it
    return {**{name: {ACCURACY.name: value} for name, value in earlier.items()}, **training.get("validation", {})}


def _training_fact(config: TrainingConfig, share: float, training: dict[str, Any]) -> str:
    """One line such as `sandwich, 30 epochs (the first 60% on the largest network alone) in 312 s, float32`."""
    last = training["epochs"][-1] if training["epochs"] else {"epoch": 0, "seconds": 0.0}
    largest = f" (the first {share:.0%} on the largest network alone)" if share else ""
    if config.mixer_distillation_share:
        largest += f" ({config.mixer_distillation_share:.0%} on mixers that learn from attention)"
    so_far = f"{last['epoch']:g} of " if training.get("unfinished") else ""
    parts = [config.strategy.name, f"{so_far}{config.epochs:g} epochs{largest} in {last['seconds']:,.0f} s"]
    if config.pretrained is not None:
        parts.append(f"from {config.pretrained.source} weights in {config.pretrained.path}")
    if execution := training.get("execution"):
        parts.append(f"{'bfloat16' if execution['bfloat16'] else 'float32'} on {execution['device']}")
        parts += ["channels last"] if execution["channels_last"] else []
    return ", ".join(parts)


def _facts(stages: Stages, training: dict[str, Any]) -> dict[str, str]:
    config, task = stages.config, stages.task
    facts = {
        "search space": f"{stages.space.name}, {architecture_count(stages.space)} architectures",
        **_data_fact(config.task.data, task),
        "training": _training_fact(config.training, largest_share(config.training, stages.space), training),
        "seed": str(config.seed),
        **{f"limit of {limit.metric}": f"at least {limit.value:g}" for limit in stages.limits if limit.sign < 0},
    }
    facts |= _finetuning_fact(stages.run)
    verification = _verification(stages)
    if verification:
        for name, text in verification.on_test.items():
            metric, _, data = name.partition(" on ")
            facts[f"{metric} of the chosen network on {data}"] = text
        facts |= {f"{name}, chosen network": note for name, note in verification.notes.items()}
    for target, calibration in stages.calibrations.items():
        mark = calibration.fingerprint
        facts[f"device {target.device}"] = ", ".join(
            f"{key} {mark[key]}" for key in ("processor", "runtime") if key in mark
        )
    return {**facts, "versions": ", ".join(f"{name} {number}" for name, number in versions().items())}


def _data_fact(source: str, task: Task) -> dict[str, str]:
    """What the networks are trained and judged on."""
    if not isinstance(task, ImageClassification):
        names = [metric.name for metric in task.metrics]
        sizes = (f"{task.evaluation_size(name, 'validation')} validation samples for {name}" for name in names)
        return {"data": f"{source}: {', '.join(sizes)}"}
    return {
        "images": (
            f"{source}: {len(task.train)} for training, {len(task.validation)} for validation, "
            f"{len(task.test)} for the final test, {len(task.classes)} classes"
        )
    }


def _finetuning_fact(run: Run) -> dict[str, str]:
    tuned = Bundle(run.bundle).manifest.get("finetuned") if run.bundle.exists() else None
    if not tuned:
        return {}
    changes = []
    for name in (key.removesuffix("_before") for key in tuned if key.endswith("_before")):
        label = labels.metric(name)
        before, after = (label.show(tuned[f"{name}_{when}"]) for when in ("before", "after"))
        changes.append(f"validation {label.text[:1].lower()}{label.text[1:]} from {before} to {after}")
    kept = "" if tuned["used"] else ", so the inherited weights are kept"
    return {"fine-tuning of the chosen network": f"{tuned['epochs']:g} epochs, {', '.join(changes)}{kept}"}


def _calibration(target: Target, calibration: Calibration, fit: Fit) -> CalibrationData:
    latency = fit.quantity == LATENCY
    reference = fit.predictor.predict(calibration.reference_codes)
    holdout = fit.predictor.predict(calibration.holdout_codes)
    return CalibrationData(
        device=target.device,
        predictor=fit.predictor.name,
        reference_measured=values(fit.reference),
        reference_predicted=reference.mean_ms,
        holdout_measured=values(fit.holdout),
        holdout_predicted=holdout.mean_ms,
        holdout_low=holdout.low_ms,
        holdout_high=holdout.high_ms,
        errors=fit.errors,
        macs_spearman=fit.macs_spearman,
        quantity=measured_name(fit.predictor.space, target.phase, fit.quantity.name),
        comparison=calibration.comparison if latency else None,
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
