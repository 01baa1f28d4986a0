"""From an evaluated network of a run to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from latency_predictors.fit import Fit
from nas.config import FinetuneConfig
from nas.export.bundle import Bundle, check_target, write_bundle
from nas.export.finetuning import FineTuned, FineTuner
from nas.export.onnx_model import to_onnx
from nas.search.metrics import ACCURACY
from nas.search.worker import Evaluation
from nas.stages import Stages, versions
from nas.targets import Target
from search_spaces import Architecture
from search_spaces.space import Codes

REFERENCES = 3


def deliver(
    stages: Stages, chosen: Evaluation, limits: list[str], path: Path, settings: FinetuneConfig | None = None
) -> Bundle:
    """Extract, recalibrate, fine-tune where that is wanted, and export a network, and write its bundle to `path`.

    Raises:
        FloatingPointError: when fine-tuning diverges.
        UsageError: when `path` holds something else than a bundle.
    """
    check_target(path)
    if settings is None or not settings.epochs:
        return export_network(stages, stages.evaluator.network(chosen.architecture), chosen, limits, path)
    tuner = FineTuner(stages, chosen.architecture, settings)
    with stages.reporter.progress(f"fine-tune network {chosen.number}") as advance:
        tuned = tuner.run(advance)
    stages.reporter.say(str(tuned))
    judged = replace(chosen, metrics={**chosen.metrics, ACCURACY.name: tuned.accuracy})
    bundle = export_network(stages, tuned.network, judged, limits, path, tuned)
    tuner.checkpoint.unlink(missing_ok=True)
    return bundle


def export_network(
    stages: Stages,
    network: nn.Module,
    chosen: Evaluation,
    limits: list[str],
    path: Path,
    tuned: FineTuned | None = None,
) -> Bundle:
    """Write the bundle of a network that is ready for use, with the metrics of `chosen`."""
    space, task = stages.space, stages.images
    inputs = stages.supernet.example_inputs(chosen.architecture)
    name, example = next(iter(inputs.items()))
    codes = space.codes([chosen.architecture])
    manifest = {
        "run": stages.config.name,
        "versions": versions(),
        "space": {"name": space.name, "options": dict(space.options), "fingerprint": space.fingerprint},
        "architecture": chosen.architecture.key,
        "trial": chosen.number,
        "finetuned": tuned.document() if tuned else None,
        "input": {"name": name, "shape": list(example.shape), "mean": list(task.mean), "std": list(task.std)},
        "classes": list(task.classes),
        "task": stages.config.task.model_dump(mode="json"),
        "seed": stages.config.seed,
        "data_fingerprint": task.fingerprint,
        "metrics": dict(chosen.metrics),
        "limits": limits,
        "weights_mb": space.workload(chosen.architecture).costs()["weight_bytes"] / 1e6,
        "devices": {name: _device(stages, name, codes) for name in stages.config.devices},
    }
    return write_bundle(path, to_onnx(network, inputs), network, chosen.architecture, manifest)


def _device(stages: Stages, name: str, codes: Codes) -> dict[str, Any]:
    """What was predicted for a device, and some networks that tell later how fast the machine then is."""
    calibration = stages.calibrations[Target(name, stages.space.phases[0])]
    prediction = calibration.predictor.predict(codes)
    architectures: list[Architecture] = stages.space.architectures(calibration.reference_codes[:REFERENCES])
    return {
        "device": calibration.device.document(),
        "fingerprint": dict(calibration.fingerprint),
        "mean_ms": float(prediction.mean_ms[0]),
        "low_ms": float(prediction.low_ms[0]),
        "high_ms": float(prediction.high_ms[0]),
        "quantities": {quantity: _predicted(fit, codes) for quantity, fit in calibration.others.items()},
        "references": [
            {"values": architecture.values, "latency_ms": measurement.latency_ms}
            for architecture, measurement in zip(architectures, calibration.reference[:REFERENCES], strict=True)
        ],
    }


def _predicted(fit: Fit, codes: Codes) -> dict[str, Any]:
    """What was predicted of a quantity beside latency."""
    prediction = fit.predictor.predict(codes)
    ends = {"mean": prediction.mean_ms, "low": prediction.low_ms, "high": prediction.high_ms}
    return {"unit": fit.quantity.unit, **{name: float(value[0]) for name, value in ends.items()}}
