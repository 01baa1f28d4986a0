"""Verifying a bundle on a device: same outputs, as good as before, measured latency, limits met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from latency_predictors import Device, complete
from latency_predictors.devices import quantities
from latency_predictors.devices.engines import Engine, LocalEngine
from latency_predictors.devices.quantities import LATENCY, Reading
from latency_predictors.devices.timing_graph import timing_graph
from nas.export.bundle import Bundle
from nas.export.check import Check, Verification
from nas.export.latency_check import Timing
from nas.search.limits import Limit, parse
from nas.search.measured_names import measured_name, measured_names
from nas.task_kinds import make_task, read_task
from nas.tasks import DataError, Task
from search_spaces import Architecture
from search_spaces.space import nearest

SIZE_TOLERANCE, GRAPH_MB = 0.2, 0.5
MEASURING_SECONDS = 30.0
#: How often a latency is measured before it is believed that it is not as predicted, or the machine too slow for a limit.
SESSIONS = 3


class Verifier(ABC):
    """Verifies one bundle on one device; subclasses know what its network does.

    Args:
        bundle: whose files are checked first.
        device: where the model runs.
        task: the data, when it is not that which the bundle's own configuration names.
        seed: of the random inputs of the parity check, and of the order of measurements.
        engine: from where latency and the quantities beside it are measured, by default from this process; outputs
            and the metrics of the task come from the device's runtime here when it is not reached over ssh.

    Attributes:
        found_anew: metrics of no device of which the values are measured again.

    Raises:
        CheckFailed: when a file of the bundle was changed.
    """

    found_anew: ClassVar[frozenset[str]]

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        task: Task | None = None,
        seed: int = 0,
        engine: Engine | None = None,
    ) -> None:
        bundle.check_files()
        self.bundle, self.device, self.task, self.seed = bundle, device, task, seed
        self.engine = engine or LocalEngine()
        self.measured: dict[str, float] = {"size_mb": bundle.size_mb}
        self.notes: dict[str, str] = {}

    def run(self) -> Verification:
        """Make all checks; a failed one does not stop the others."""
        outputs = list(self.outputs())
        phases = [check for phase in self._phases() for check in self._latency(phase)]
        checks = [*outputs, *phases, *self._quantities(), *self._limits(), self._size()]
        return Verification(self.device.name, tuple(checks), self.measured, self.notes)

    @abstractmethod
    def outputs(self) -> Iterator[Check]:
        """Whether the exported network computes what the torch network does, and is as good as the study found."""

    @abstractmethod
    def model(self, phase: str) -> bytes:
        """What runs in a phase, batch 1, with no other size free, all in one file."""

    def loaded_task(self, name: str) -> Task | Check:
        """The data of the study, or the failed check `name`."""
        manifest = self.bundle.manifest
        wanted = f"the data of the study ({manifest['data_fingerprint']})"
        try:
            task = self.task or make_task(read_task(manifest["task"]), manifest["seed"])
        except DataError as error:
            return Check(name, False, wanted, str(error))
        if task.fingerprint != manifest["data_fingerprint"]:
            return Check(name, False, wanted, f"other data ({task.fingerprint})")
        return task

    def _phases(self) -> list[str]:
        """Those that were calibrated on the device, or all, of a device that is not known."""
        phases = self.bundle.space.phases
        known = [phase for phase in phases if self.bundle.predicted(self.device.name, phase)]
        return known or list(phases)

    def _latency(self, phase: str) -> Iterator[Check]:
        name = measured_name(self.bundle.space, phase)
        part = name.removesuffix(LATENCY.name).removesuffix(LATENCY.unit)
        known = self.bundle.predicted(self.device.name, phase)
        references = known["references"] if known else []
        graphs = [self._reference_graph(reference["values"], phase) for reference in references]
        limits = [limit for limit in self._device_limits() if limit.metric == f"{name}.{self.device.name}"]
        timing, sessions = self._timing([self.model(phase), *graphs], known or {}, limits)
        self.measured |= {
            name: timing.measurement.latency_ms,
            f"{part}median_ms": timing.measurement.median_ms,
            f"{part}repeat_error": timing.measurement.repeat_error,
        }
        if known:
            self.measured[f"{part}drift"] = timing.drift
            yield timing.check(f"{part.rstrip('_') or 'latency'} on {self.device.name} as predicted", sessions)

    def _timing(self, models: list[bytes], predicted: Mapping[str, Any], limits: Sequence[Limit]) -> tuple[Timing, int]:
        """Measured once, and again when what disturbed the machine may have passed: when the latency is not what was predicted,
        or misses a limit that it would keep on a machine as fast as at the calibration."""
        sessions = 0
        while True:
            sessions += 1
            _, results = self.engine.measure(
                self.device, models, rounds=24, seed=self.seed, max_seconds=MEASURING_SECONDS
            )
            measurement, *others = complete(results)
            timing = Timing(measurement, others, predicted)
            if timing.undisturbed(limits) or sessions == SESSIONS:
                return timing, sessions

    def _reference_graph(self, values: dict[str, Any], phase: str) -> bytes:
        architecture = Architecture(self.bundle.space.name, tuple(values.items()))
        try:
            return timing_graph(self.bundle.space.workload(architecture, phase))
        except Exception as error:  # a value of the space may be anything
            raise self.bundle.wrong(f"devices.{self.device.name}", f"a reference is no network: {error}") from error

    def _quantities(self) -> Iterator[Check]:
        """Measure again what was calibrated or is limited on this device; a check only where that cannot be done."""
        known = measured_names(self.bundle.space)
        limited = [limit.metric.partition(".")[0] for limit in self._device_limits()]
        for name in dict.fromkeys(limited):
            if name not in known:
                yield Check(f"{name} on {self.device.name}", False, "a measurement", f"unknown{nearest(name, known)}")
        for phase in self.bundle.space.phases:
            names = [name for name in limited if name in known and known[name].phase == phase]
            yield from self._quantities_of(phase, [known[name].quantity.name for name in names])

    def _quantities_of(self, phase: str, limited: list[str]) -> Iterator[Check]:
        """What was calibrated or is limited of one phase; latency is measured elsewhere."""
        predicted = (self.bundle.predicted(self.device.name, phase) or {}).get("quantities", {})
        name = {quantity: measured_name(self.bundle.space, phase, quantity) for quantity in (*predicted, *limited)}
        able = []
        for quantity in name:
            if quantity == LATENCY.name:
                continue
            try:
                self.engine.check_quantities(self.device, [quantity])
            except ValueError as error:
                yield Check(f"{name[quantity]} on {self.device.name}", False, "a measurement", str(error))
            else:
                able.append(quantity)
        if not able:
            return
        (readings,) = self.engine.measure_quantities(
            self.device, [self.model(phase)], able, seed=self.seed, max_seconds=MEASURING_SECONDS
        )
        for quantity, reading in readings.items():
            self.measured[name[quantity]] = reading.value
            self.notes[f"{name[quantity]} on {self.device.name}"] = _against(reading, quantity, predicted.get(quantity))

    def _device_limits(self) -> list[Limit]:
        """Those on what was measured on this device."""
        limits = map(parse, self.bundle.manifest["limits"])
        return [limit for limit in limits if limit.metric.partition(".")[2] == self.device.name]

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
        if name in self.found_anew:
            return self.measured.get(name)
        return self.bundle.metric(limit.metric)

    def _size(self) -> Check:
        found, expected = self.measured["size_mb"], self.bundle.manifest["weights_mb"]
        return Check(
            f"size of {', '.join(self.bundle.layout.models)}",
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
