"""What is measured on the devices of a run beside latency, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from latency_predictors import Bank, Calibration, Device
from latency_predictors.active import refine
from latency_predictors.comparison import Comparison
from latency_predictors.devices.engines import Engine
from latency_predictors.fit import Fit
from latency_predictors.other_devices import OtherDevices
from nas.config import RunConfig
from nas.progress import Reporter
from nas.search.limits import limited_metrics
from nas.search.metrics import measured_quantities
from search_spaces import SearchSpace


def wanted_quantities(config: RunConfig) -> dict[str, list[str]]:
    """The quantities beside latency that objectives, limits and the export name, by the name of the device.

    Raises:
        UsageError: when a metric is unknown or a limit cannot be read.
    """
    search, export = config.search, config.export
    wishes = [name for name in (export.maximize, export.minimize) if name]
    named = [*search.objectives, *limited_metrics([*search.limits, *export.where]), *wishes]
    return measured_quantities(named, config.devices)


def missing_quantities(file: Path, space: SearchSpace, wanted: Sequence[str]) -> list[str]:
    """Which of the quantities are not in the calibration that is in `file`, or will be there."""
    return Calibration.load(file, space).missing(wanted) if file.exists() else list(wanted)


def check_devices(missing: Mapping[str, Sequence[str]], engine: Engine) -> None:
    """Find out through `engine` whether each device can measure the quantities that are still missing.

    Raises:
        ValueError: when one cannot, saying what to do.
    """
    for name, wanted in missing.items():
        if wanted:
            engine.check_quantities(Device.load(name), wanted)


def measure_quantities(
    calibration: Calibration, wanted: Sequence[str], file: Path, max_seconds: float, reporter: Reporter, engine: Engine
) -> Calibration:
    """Add to a calibration, and to its file, what is measured beside latency; errors as for `with_quantities`."""
    name, missing = calibration.device.name, calibration.missing(wanted)
    if not missing:
        return calibration
    with reporter.progress(f"measure {', '.join(missing)} on {name}") as advance:
        calibration = calibration.with_quantities(missing, max_seconds, advance, engine)
    calibration.save(file)
    for quantity in missing:
        say_errors(reporter, name, calibration.fits[quantity])
    return calibration


def known_devices(space: SearchSpace, reporter: Reporter) -> OtherDevices:
    """What predictors learn from: the measurements that come with Nasmyth, and the user's unless they are damaged."""
    try:
        return OtherDevices.known(space)
    except (OSError, ValueError) as error:  # the run does not need them
        found = OtherDevices.joined([Bank.shipped()], space)
        reporter.say(f"warning: {error}. Predictors learn nothing from the devices that you measured before")
        return found


def measure_on(
    calibration: Calibration, until_error: float, max_samples: int, reporter: Reporter, engine: Engine
) -> Calibration:
    """Measure one network after the other until the expected error is low enough; errors as for `active.refine`."""
    with reporter.progress(f"measure on until {until_error:g} %") as advance:
        calibration = refine(calibration, until_error, max_samples, advance, engine)
    found = calibration.refinement
    if found is not None:
        end = f", more than the wanted {until_error:g} %: {found.stopped}" if found.stopped else ""
        reporter.say(
            f"further networks measured: {found.added}; the predictor expects a median error of "
            f"{found.expected_error:.1f} %{end}"
        )
    return calibration


def say_choice(reporter: Reporter, comparison: Comparison | None) -> None:
    """Tell which predictor is used and why, and which ones could not be tried."""
    if comparison is None:
        return
    for name, entry in comparison.entries.items():
        if entry.skipped:
            reporter.say(f"{name} was not tried: {entry.skipped}")
    if comparison.reason:
        reporter.say(comparison.reason)


def say_errors(reporter: Reporter, device: str, fit: Fit) -> None:
    """Tell how good a predictor is on networks that it was not fitted to."""
    errors = fit.errors
    reporter.say(
        f"{fit.quantity.name} on {device}: {len(fit.reference)} networks measured, on {len(fit.holdout)} others rank "
        f"correlation {errors['spearman']:.3f} (MACs alone {fit.macs_spearman:.3f}), "
        f"median error {errors['mdape']:.1f} %, {100 * errors['coverage90']:.0f} % inside the 90 % interval"
    )
