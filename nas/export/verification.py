"""Verification of a bundle on a device: same outputs, same accuracy, measured latency, limits met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latency_predictors import Device, complete
from latency_predictors.devices import quantities
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.quantities import LATENCY, Reading
from latency_predictors.devices.sessions import DeviceSession
from latency_predictors.devices.timing_graph import timing_graph
from nas.config import TaskConfig
from nas.export.bundle import Bundle
from nas.export.check import Check
from nas.search.limits import Limit, parse
from nas.task_kinds import load_task
from nas.tasks import DataError, ImageClassification, Split
from search_spaces import Architecture
from search_spaces.supernet import resize

BATCH_SIZES = (1, 4)
#: What the graphs of the calibration and an exported graph may differ in latency, beyond the interval.
LATENCY_TOLERANCE = 0.1
SIZE_TOLERANCE, GRAPH_MB = 0.2, 0.5
MEASURING_SECONDS = 30.0
#: Metrics of no device of which verification finds the values anew.
_MEASURED = ("accuracy", "size_mb")


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        device: its name.
        checks: each passed or not.
        measured: figures by name: `latency_ms`, `median_ms`, `repeat_error`, `drift`, `accuracy`, `test_accuracy`,
            `size_mb`, `parity`, and quantities of the device that limits or the calibration name, such as
            `peak_memory_mb`.
        notes: what was measured beside latency against what was predicted, for people; limits alone judge it.
    """

    device: str
    checks: tuple[Check, ...]
    measured: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> str:
        """Names of the checks that did not pass, for people."""
        return ", ".join(check.name for check in self.checks if not check.passed)

    @property
    def remarks(self) -> list[str]:
        """Sentences on what was measured and is not judged: quantities beside latency, accuracy on test images."""
        found = self.measured.get("test_accuracy")
        accuracy = [] if found is None else [f"accuracy on test images, which nothing else has used: {found:.2%}"]
        return [*(f"{name}: {note}" for name, note in self.notes.items()), *accuracy]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        checks = [asdict(check) for check in self.checks]
        found = {"measured": self.measured, "notes": self.notes}
        return {"device": self.device, "passed": self.passed, "checks": checks, **found}

    @classmethod
    def from_document(cls, data: dict[str, Any]) -> Verification:
        """Inverse of `document`."""
        checks = tuple(Check(**check) for check in data["checks"])
        return cls(data["device"], checks, data["measured"], data.get("notes", {}))


class Verifier:
    """Verifies one bundle on one device.

    Args:
        bundle: whose files are checked first.
        device: where the model runs.
        task: the images, when they are not those that the bundle's own configuration names.
        seed: of the random inputs of the parity check, and of the order of measurements.
        engine: from where latency and the quantities beside it are measured, by default from this process; outputs
            and accuracy come from the device's runtime here when it is not reached over ssh.

    Raises:
        CheckFailed: when a file of the bundle was changed.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        task: ImageClassification | None = None,
        seed: int = 0,
        engine: Engine | None = None,
    ) -> None:
        bundle.check_files()
        self.bundle, self.device, self.task, self.seed = bundle, device, task, seed
        self.engine = engine or LocalEngine()
        self.measured: dict[str, float] = {"size_mb": len(bundle.model) / 1e6}
        self.notes: dict[str, str] = {}

    def run(self) -> Verification:
        """Make all checks; a failed one does not stop the others."""
        with DeviceSession(self.device, self.bundle.model) as session:
            outputs = [*self._parity(session), *self._accuracy(session)]
        checks = [*outputs, *self._latency(), *self._quantities(), *self._limits(), self._size()]
        return Verification(self.device.name, tuple(checks), self.measured, self.notes)

    def _parity(self, session: DeviceSession) -> Iterator[Check]:
        network = self.bundle.network()
        generator = torch.Generator().manual_seed(self.seed)
        worst, tolerance = 0.0, self.device.make_backend().tolerance
        for batch in BATCH_SIZES:
            shape = (batch, *self.bundle.manifest["input"]["shape"][1:])
            images = torch.randn(shape, generator=generator)
            with torch.inference_mode():
                expected = network(images)
            difference = (self._logits(session, images) - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
            worst = max(worst, float(difference))
            yield Check(
                f"outputs equal torch's, batch {batch}",
                bool(difference <= tolerance),
                f"relative difference <= {tolerance:g}",
                f"{float(difference):.2g}",
            )
        self.measured["parity"] = worst

    def _logits(self, session: DeviceSession, images: Tensor) -> Tensor:
        outputs = session.run({self.bundle.manifest["input"]["name"]: images.contiguous().numpy()})
        return torch.from_numpy(np.asarray(next(iter(outputs.values()))))

    def _accuracy(self, session: DeviceSession) -> Iterator[Check]:
        manifest = self.bundle.manifest
        images = f"the images of the study ({manifest['data_fingerprint']})"
        try:
            task = self.task or load_task(TaskConfig.model_validate(manifest["task"]), manifest["seed"])
        except DataError as error:
            yield Check("accuracy", False, images, str(error))
            return
        if task.fingerprint != manifest["data_fingerprint"]:
            yield Check("accuracy", False, images, f"other images ({task.fingerprint})")
            return
        expected = manifest["metrics"]["accuracy"]
        found = self._share_correct(session, task, "validation")
        # Sums in another order may turn single images that two classes tie for.
        allowed = 1.5 / len(task.validation)
        self.measured |= {"accuracy": found, "test_accuracy": self._share_correct(session, task, "test")}
        yield Check(
            "accuracy on validation images", abs(found - expected) <= allowed, f"{100 * expected:.2f} %",
            f"{100 * found:.2f} %",
        )  # fmt: skip

    def _share_correct(self, session: DeviceSession, task: ImageClassification, split: Split) -> float:
        size = tuple(self.bundle.manifest["input"]["shape"][2:])
        correct = seen = 0
        for images, target in task.batches(split, 250):
            correct += task.correct(self._logits(session, resize(images, size)), target)
            seen += len(target)
        return correct / seen

    def _latency(self) -> Iterator[Check]:
        known = self.bundle.manifest["devices"].get(self.device.name)
        references = known["references"] if known else []
        graphs = [self._reference_graph(reference["values"]) for reference in references]
        models = [self.bundle.model, *graphs]
        _, results = self.engine.measure(self.device, models, rounds=24, seed=self.seed, max_seconds=MEASURING_SECONDS)
        measurement, *others = complete(results)
        self.measured |= {
            "latency_ms": measurement.latency_ms,
            "median_ms": measurement.median_ms,
            "repeat_error": measurement.repeat_error,
        }
        if not known:
            return
        pairs = zip(others, references, strict=True)
        drift = float(np.median([now.latency_ms / then["latency_ms"] for now, then in pairs]))
        self.measured["drift"] = drift
        low, high = (drift * known[end] for end in ("low_ms", "high_ms"))
        yield Check(
            f"latency on {self.device.name} as predicted",
            low * (1 - LATENCY_TOLERANCE) <= measurement.latency_ms <= high * (1 + LATENCY_TOLERANCE),
            f"{drift * known['mean_ms']:.4g} ms ({low:.4g} to {high:.4g}; the machine runs {_speed(drift)})",
            f"{measurement.latency_ms:.4g} ms",
        )

    def _reference_graph(self, values: dict[str, Any]) -> bytes:
        architecture = Architecture(self.bundle.space.name, tuple(values.items()))
        return timing_graph(self.bundle.space.workload(architecture))

    def _quantities(self) -> Iterator[Check]:
        """Measure again what was calibrated or is limited on this device; a check only where that cannot be done."""
        predicted = self.bundle.manifest["devices"].get(self.device.name, {}).get("quantities", {})
        limited = [name for name, _, device in self._limited() if device == self.device.name]
        able = []
        for name in dict.fromkeys([*predicted, *limited]):
            if name == LATENCY.name:
                continue
            try:
                self.engine.check_quantities(self.device, [name])
            except ValueError as error:
                yield Check(f"{name} on {self.device.name}", False, "a measurement", str(error))
            else:
                able.append(name)
        if not able:
            return
        (readings,) = self.engine.measure_quantities(
            self.device, [self.bundle.model], able, seed=self.seed, max_seconds=MEASURING_SECONDS
        )
        for name, reading in readings.items():
            self.measured[name] = reading.value
            self.notes[f"{name} on {self.device.name}"] = _against(reading, name, predicted.get(name))

    def _limited(self) -> list[tuple[str, str, str]]:
        """Name, dot and device of the limited metrics."""
        return [limit.metric.partition(".") for limit in map(parse, self.bundle.manifest["limits"])]

    def _limits(self) -> Iterator[Check]:
        for limit in map(parse, self.bundle.manifest["limits"]):
            found = self._found(limit)
            if found is not None:
                yield Check(f"limit on {limit.metric}", limit.violation(found) <= 0, str(limit), f"{found:.4g}")

    def _found(self, limit: Limit) -> float | None:
        """What is now known of a limited metric; nothing of other devices, and of what could not be measured."""
        name, _, device = limit.metric.partition(".")
        if device:
            return self.measured.get(name) if device == self.device.name else None
        if name in _MEASURED:
            return self.measured.get(name)
        return float(self.bundle.manifest["metrics"][limit.metric])

    def _size(self) -> Check:
        found, expected = self.measured["size_mb"], self.bundle.manifest["weights_mb"]
        return Check(
            "size of model.onnx",
            found <= expected * (1 + SIZE_TOLERANCE) + GRAPH_MB,
            f"about {expected:.3g} MB of weights",
            f"{found:.3g} MB",
        )


def _against(reading: Reading, name: str, predicted: Mapping[str, Any] | None) -> str:
    """What was measured, and what had been predicted."""
    found = f"{reading.value:.4g} {quantities.get(name).unit} measured"
    if predicted is None:
        return found
    return f"{found}, {predicted['mean']:.4g} predicted ({predicted['low']:.4g} to {predicted['high']:.4g})"


def _speed(drift: float) -> str:
    """How fast the machine is now against its calibration."""
    if abs(drift - 1) < 0.005:
        return "as fast as when it was calibrated"
    return f"{abs(drift - 1):.0%} {'slower' if drift > 1 else 'faster'} than when it was calibrated"


def verify(
    bundle: Bundle, device: Device, task: ImageClassification | None = None, engine: Engine | None = None
) -> Verification:
    """Check outputs, accuracy, latency, limits and size of `bundle` on `device`.

    Raises:
        CheckFailed: when a file of the bundle was changed.
    """
    return Verifier(bundle, device, task, engine=engine).run()
