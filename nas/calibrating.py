"""The calibrations of a run: what is measured on its devices, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from latency_predictors import Bank, Calibration, Device, calibrate
from latency_predictors.active import check as check_refinable
from latency_predictors.active import refine
from latency_predictors.comparison import Comparison
from latency_predictors.devices.engines import Engine
from latency_predictors.devices.quantities import LATENCY
from latency_predictors.fit import Fit
from latency_predictors.other_devices import OtherDevices
from nas.config import CalibrationConfig, RunConfig
from nas.progress import Reporter
from nas.runs import Run
from nas.search.measured_names import measured_name
from nas.targets import Target, wanted_targets
from search_spaces import SearchSpace


class Calibrations:
    """Those of a run, each in a file of its own.

    Args:
        run: where they are kept.
        config: of the run.
        space: of the run.
        evaluated: names of the metrics that are known by evaluation.
        engine: from where devices are measured.
        reporter: tells a person what happens.
    """

    def __init__(
        self,
        run: Run,
        config: RunConfig,
        space: SearchSpace,
        evaluated: Iterable[str],
        engine: Engine,
        reporter: Reporter,
    ) -> None:
        self.run, self.config, self.space, self.evaluated = run, config, space, tuple(evaluated)
        self.engine, self.reporter = engine, reporter

    @cached_property
    def wanted(self) -> dict[Target, list[str]]:
        """What the run needs; errors as for `wanted_targets`."""
        return wanted_targets(self.config, self.space, self.evaluated)

    def file(self, target: Target) -> Path:
        """Where a calibration is kept; the phase is part of the name where there are several."""
        return self.run.calibration_file(target.device, target.phase if len(self.space.phases) > 1 else None)

    def load(self) -> dict[Target, Calibration]:
        """What was measured: all that the run needs, and what else there is of its devices.

        Raises:
            OSError: when one that the run needs is missing.
            ValueError: when one cannot be read.
        """
        targets = [Target(device, phase) for device in self.config.devices for phase in self.space.phases]
        files = {target: self.file(target) for target in targets}
        needed = [target for target in targets if target in self.wanted or files[target].exists()]
        return {target: Calibration.load(files[target], self.space) for target in needed}

    def check(self) -> None:
        """Find out whether everything that is still missing can be measured.

        Raises:
            UsageError: when a device, a metric or a limit is wrong.
            ValueError: when a device cannot measure a quantity.
        """
        for device in self.config.devices:
            if not any(self.file(Target(device, phase)).exists() for phase in self.space.phases):
                Device.load(device)  # one that is unknown is said first
        for target, quantities in self.wanted.items():
            self._check_quantities(target.device, self._missing(target, quantities))

    def complete(self, target: Target) -> None:
        """Add to an existing calibration the quantities that are wanted by now."""
        calibration = Calibration.load(self.file(target), self.space)
        self._keep(calibration)  # a crash may have come before it
        self._measure_quantities(target, calibration, self.wanted[target])

    def measure(self, target: Target, settings: CalibrationConfig) -> Calibration:
        """Measure networks to fit the predictors and others to test them, in place of what was measured before."""
        wanted = self.wanted.get(target, [])  # a device may be measured that the run does not use
        self._check_quantities(target.device, wanted)
        if settings.until_error is not None:
            check_refinable(settings.until_error, settings.samples)
        calibration = self._measured(target, settings)
        if settings.until_error is not None:
            self._keep(calibration)  # they are not lost when measuring on is interrupted
            calibration = self._measured_on(calibration, settings.until_error, settings.max_samples)
        self._keep(calibration)  # first: a calibration whose file is there is not measured again
        calibration.save(self.file(target))
        self._say_stability(calibration)
        self._say_choice(calibration.comparison)
        self._say_errors(target, calibration.fits[LATENCY.name])
        return self._measure_quantities(target, calibration, wanted)

    def _missing(self, target: Target, wanted: list[str]) -> list[str]:
        """Which of the quantities are not in the calibration that exists, or will be there."""
        file = self.file(target)
        return Calibration.load(file, self.space).missing(wanted) if wanted and file.exists() else wanted

    def _check_quantities(self, device: str, wanted: list[str]) -> None:
        if wanted:
            self.engine.check_quantities(Device.load(device), wanted)

    # ---------------------------------------------------------------------------------------------------- measuring

    def _measured(self, target: Target, settings: CalibrationConfig) -> Calibration:
        known = self._known_devices(target.phase)
        with self.reporter.progress(f"calibrate {target.title(self.space)}") as advance:
            return calibrate(
                self.space,
                Device.load(target.device),
                predictor=settings.predictor,
                samples=settings.samples,
                holdout=settings.holdout,
                phase=target.phase,
                seed=self.config.seed,
                progress=advance,
                engine=self.engine,
                blocks_file=self.run.blocks_file(target.device),
                bank=known,
                max_seconds=settings.max_seconds,
            )

    def _known_devices(self, phase: str) -> OtherDevices:
        """What predictors learn from: the measurements that come with Nasmyth, and the user's unless they are damaged."""
        try:
            return OtherDevices.known(self.space, phase)
        except (OSError, ValueError) as error:  # the run does not need them
            found = OtherDevices.joined([Bank.shipped()], self.space, phase)
            self.reporter.say(f"warning: {error}. Predictors learn nothing from the devices that you measured before")
            return found

    def _measured_on(self, calibration: Calibration, until_error: float, max_samples: int) -> Calibration:
        """Measure one network after the other until the expected error is low enough; errors as for `active.refine`."""
        with self.reporter.progress(f"measure on until {until_error:g} %") as advance:
            calibration = refine(calibration, until_error, max_samples, advance, self.engine)
        found = calibration.refinement
        if found is not None:
            end = f", more than the wanted {until_error:g} %: {found.stopped}" if found.stopped else ""
            self.reporter.say(
                f"further networks measured: {found.added}; the predictor expects a median error of "
                f"{found.expected_error:.1f} %{end}"
            )
        return calibration

    def _measure_quantities(self, target: Target, calibration: Calibration, wanted: list[str]) -> Calibration:
        """Add to a calibration, and to its file, what is measured beside latency; errors as for `with_quantities`."""
        missing, max_seconds = calibration.missing(wanted), self.config.calibration.max_seconds
        if not missing:
            return calibration
        with self.reporter.progress(f"measure {', '.join(missing)} on {target.title(self.space)}") as advance:
            calibration = calibration.with_quantities(missing, max_seconds, advance, self.engine)
        calibration.save(self.file(target))
        for quantity in missing:
            self._say_errors(target, calibration.fits[quantity])
        return calibration

    def _keep(self, calibration: Calibration) -> None:
        """Add to the banks of the run and of the user what they do not have yet."""
        records = calibration.records()
        Bank(self.run.bank_file).append(records)
        try:
            Bank.user().append(records)
        except (OSError, ValueError) as error:  # the run does not need it
            self.reporter.say(
                f"warning: {error}. The run goes on; its measurements are in {self.run.bank_file}, "
                f"'nas bank export' and 'nas bank import' bring them over"
            )

    # ------------------------------------------------------------------------------------------------- what is told

    def _say_stability(self, calibration: Calibration) -> None:
        name = calibration.device.name
        if not calibration.stable:
            self.reporter.say(
                f"warning: the measurements on {name} repeat only within {calibration.holdout[0].repeat_error:.0%}; "
                f"'nas device check {name}' says what to do"
            )

    def _say_choice(self, comparison: Comparison | None) -> None:
        """Tell which predictor is used and why, and which ones could not be tried."""
        if comparison is None:
            return
        for name, entry in comparison.entries.items():
            if entry.skipped:
                self.reporter.say(f"{name} was not tried: {entry.skipped}")
        if comparison.reason:
            self.reporter.say(comparison.reason)

    def _say_errors(self, target: Target, fit: Fit) -> None:
        """Tell how good a predictor is on networks that it was not fitted to."""
        errors, name = fit.errors, measured_name(self.space, target.phase, fit.quantity.name)
        self.reporter.say(
            f"{name} on {target.device}: {len(fit.reference)} networks measured, on {len(fit.holdout)} others rank "
            f"correlation {errors['spearman']:.3f} (MACs alone {fit.macs_spearman:.3f}), "
            f"median error {errors['mdape']:.1f} %, {100 * errors['coverage90']:.0f} % inside the 90 % interval"
        )
