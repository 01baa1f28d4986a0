"""What is known of a network when it is exported: the part of a manifest that is alike for all kinds of networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from latency_predictors import Calibration
from latency_predictors.fit import Fit
from nas.export.finetuning import FineTuned
from nas.search.worker import Evaluation
from nas.stages import Stages, versions
from nas.targets import Target
from search_spaces import Architecture
from search_spaces.space import Codes

REFERENCES = 3


@dataclass(frozen=True)
class Exported:
    """A network that is ready for use.

    Attributes:
        network: in evaluation mode.
        chosen: with its metrics.
        limits: that it keeps.
        weights: the precision in which they are kept, see `nas.export.weights`.
        tuned: what fine-tuning gave, where it was fine-tuned.
    """

    network: nn.Module
    chosen: Evaluation
    limits: list[str]
    weights: str
    tuned: FineTuned | None = None


def facts(stages: Stages, exported: Exported) -> dict[str, Any]:
    """Where a network comes from, what it was judged to be, and what was predicted of it."""
    space, config, chosen, tuned = stages.space, stages.config, exported.chosen, exported.tuned
    codes = space.codes([chosen.architecture])
    devices = {name: _device(stages, name, codes) for name in config.devices}
    return {
        "run": config.name,
        "versions": versions(),
        "space": {"name": space.name, "options": dict(space.options), "fingerprint": space.fingerprint},
        "architecture": chosen.architecture.key,
        "trial": chosen.number,
        "finetuned": tuned.document() if tuned else None,
        "task": config.task.model_dump(mode="json"),
        "seed": config.seed,
        "data_fingerprint": stages.task.fingerprint,
        "metrics": dict(chosen.metrics),
        "limits": exported.limits,
        "devices": {name: known for name, known in devices.items() if known},
    }


def _device(stages: Stages, name: str, codes: Codes) -> dict[str, Any]:
    """What was predicted for a device; by phase where there are several. Empty where nothing was calibrated."""
    phases = stages.space.phases
    found = {phase: stages.calibrations.get(Target(name, phase)) for phase in phases}
    calibrated = {phase: calibration for phase, calibration in found.items() if calibration is not None}
    if not calibrated:
        return {}
    calibration = next(iter(calibrated.values()))
    known = {phase: _phase(stages, calibration, codes) for phase, calibration in calibrated.items()}
    return {
        "device": calibration.device.document(),
        "fingerprint": dict(calibration.fingerprint),
        **(known[phases[0]] if len(phases) == 1 else {"phases": known}),
    }


def _phase(stages: Stages, calibration: Calibration, codes: Codes) -> dict[str, Any]:
    """What was predicted, and some networks that tell later how fast the machine then is."""
    prediction = calibration.predictor.predict(codes)
    architectures: list[Architecture] = stages.space.architectures(calibration.reference_codes[:REFERENCES])
    return {
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
