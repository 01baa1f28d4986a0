"""`nas calibrate`: measure a device and fit its latency predictor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import ConfigArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from latency_predictors import Calibration


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    config: ConfigArgument,
    device: Annotated[str, typer.Option(help="Its name; 'nas device list' shows them.")] = "local",
    samples: Annotated[int | None, typer.Option(help="Networks to fit the predictor to.")] = None,
    holdout: Annotated[int | None, typer.Option(help="Other networks to test it on.")] = None,
    until_error: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Measure further networks, one at a time, until the predictor expects a lower median error; "
            "calibration.max_samples (50) bounds them.",
        ),
    ] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a few networks of the configuration's space on a device, fit latency predictors, test them on others.

    Ten networks are measured to fit, twenty others to test. The predictor is 'gaussian_process', which knows simulated
    devices and those that were measured before ('nas bank list'), unless another one is clearly better on the twenty. To
    use one by name: --set calibration.predictor=roofline (or nonnegative, nasflat, help, lookup_table).

    Large errors? 'nas device check NAME' says whether the device repeats itself; then --until-error 5 measures on
    where the predictor knows least. Beside latency the quantities are measured that objectives and limits name, such as
    peak_memory_mb.DEVICE. Networks with several phases, such as the prompt and the next token of a language model, are
    measured in each of them.
    """
    from nas.cli.options import print_json, show
    from nas.config import load
    from nas.errors import UsageError
    from nas.pipeline import open_stages
    from nas.progress import Reporter
    from nas.report.tables import calibration_table, predictors_table

    stages = open_stages(load(config, set_ or []), Reporter())
    phases, documents = stages.space.phases, {}
    given = {"samples": samples, "holdout": holdout, "until_error": until_error}
    changes = {name: value for name, value in given.items() if value is not None}
    with stages.exclusive():
        if stages.searched and device in stages.config.devices:
            raise UsageError(f"the search of {stages.run.path} uses the present calibration; use another run")
        for phase in phases:
            settings = stages.config.calibration.model_copy(update=changes)
            calibration = stages.calibrate_device(device, settings, phase)
            show(calibration_table(calibration, phase if len(phases) > 1 else ""))
            if calibration.comparison is not None and len(calibration.comparison.entries) > 1:
                show(predictors_table(calibration.comparison))
            documents[phase] = _document(calibration)
    if json:
        found = documents[phases[0]] if len(phases) == 1 else {"phases": documents}
        print_json({"device": device, **found})


def _document(calibration: Calibration) -> dict[str, Any]:
    """How good a calibration is, as JSON values."""
    entries = {} if calibration.comparison is None else calibration.comparison.entries
    return {
        "predictor": calibration.predictor.name,
        "predictors": {name: {**entry.errors, **entry.remark()} for name, entry in entries.items()},
        "errors": dict(calibration.errors),
        "macs_spearman": calibration.macs_spearman,
        "refinement": None if calibration.refinement is None else asdict(calibration.refinement),
        "stable": calibration.stable,
        "seconds": calibration.seconds,
        "quantities": {
            name: {"unit": fit.quantity.unit, "errors": dict(fit.errors), "macs_spearman": fit.macs_spearman}
            for name, fit in calibration.fits.items()
        },
    }
