"""Tables for the terminal; each fits into 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from latency_predictors import Calibration
from latency_predictors.comparison import Comparison, Entry
from nas.export.check import Check
from nas.report import labels
from nas.report.data import ReportData
from nas.report.network import stages
from nas.search.additive_bound import AdditiveBound
from search_spaces import Architecture, SearchSpace


def front_table(data: ReportData, bound: AdditiveBound | None = None) -> Table:
    """The Pareto front, the best in the first objective first. The chosen network is marked by a star.

    Args:
        data: of the run.
        bound: at the costs of each network of the front, for one more column.
    """
    metrics = [labels.objective_metric(objective) for objective in data.objectives]
    table = Table(title=Text(f"{len(data.front)} networks on the front of {len(data.evaluations)} evaluated"))
    table.add_column("number", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(Text(metric.title), justify="right")
    if bound is not None:
        unit = labels.metric(bound.objective).unit
        table.add_column(Text(f"additive bound, {unit}" if unit else "additive bound"), justify="right")
    table.add_column("network", overflow="fold")
    for row, evaluation in enumerate(data.front):
        star = " ★" if data.is_chosen(evaluation.architecture) else ""
        values = [Text(metric.number(evaluation.metrics[metric.name])) for metric in metrics]
        if bound is not None:
            values.append(Text(labels.metric(bound.objective).number(bound.bound[row])))
        table.add_row(str(evaluation.number), *values, evaluation.architecture.key + star)
    return table


def bound_note(bound: AdditiveBound) -> str:
    """What the bounds in the table of the front are, and what they are not."""
    metric = labels.metric(bound.objective)
    costs = " and ".join(labels.metric(name).text for name in bound.costs)
    return (
        f"additive bound: the best {metric.text} of any network that is no worse in {costs}, if the choices added up as in "
        f"a regression of the {bound.fitted} evaluated networks (median error on them: {metric.show(bound.error)}). It is "
        "a bound of this model, not of the truth: there may be better networks, also among those of the table."
    )


def proposals_table(data: ReportData) -> Table:
    """Why each network of the front was evaluated: what the sampler expected of it, and what was found."""
    metrics = [labels.objective_metric(objective) for objective in data.objectives]
    table = Table(title=Text("why these networks were evaluated"))
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("chosen", overflow="fold")
    for metric in metrics:
        table.add_column(Text(f"{metric.title}: expected, found"), justify="right")
    for evaluation in data.front:
        expected, deviation = (evaluation.proposal.get(key, {}) for key in ("predicted", "deviation"))
        cells = []
        for metric in metrics:
            found = metric.number(evaluation.metrics[metric.name])
            if metric.name in expected:
                error = f" ± {metric.number(deviation[metric.name])}" if metric.name in deviation else ""
                found = f"{metric.number(expected[metric.name])}{error}, {found}"
            cells.append(Text(found))
        table.add_row(str(evaluation.number), Text(_source(evaluation.proposal)), *cells)
    return table


def _source(proposal: Mapping[str, Any]) -> str:
    """In a few words: the method, among how many candidates, and what predicted their expensive objectives."""
    source = str(proposal.get("source", "not said"))
    if "among" in proposal:
        source = f"{source}: the best of {proposal['among']:,} candidates"
    models = sorted({str(name).replace("_", " ") for name in proposal.get("surrogates", {}).values()})
    return f"{source} by {' and '.join(models)}" if models else source


def verification_table(checks: Sequence[Check]) -> Table:
    """What was checked of an export; a failed check says so in capitals."""
    table = Table(title=Text(f"{sum(check.passed for check in checks)} of {len(checks)} checks passed"))
    for heading in ("check", "result", "expected", "found"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "result")
    for check in checks:
        result = Text("passed", "green") if check.passed else Text("FAILED", "bold red")
        table.add_row(Text(check.name), result, Text(check.expected), Text(check.found))
    return table


def network_table(space: SearchSpace, architecture: Architecture, phase: str | None = None) -> Table:
    """The slots of one network in running order, with what each costs in `phase` (by default the space's first)."""
    rows = stages(space, architecture, phase)
    macs, parameters = sum(stage.macs for stage in rows), sum(stage.parameters for stage in rows)
    table = Table(title=Text(f"{space.name} {architecture.key}"), box=SIMPLE, show_footer=True, padding=(0, 1))
    table.add_column("slot", "total", overflow="fold")
    table.add_column("module", overflow="fold")
    for heading, total in (("MACs", macs), ("params", parameters)):
        table.add_column(heading, labels.count(total), justify="right", no_wrap=True)
        table.add_column("share", justify="right", no_wrap=True)
    for stage in rows:
        table.add_row(
            Text(stage.name),
            Text(f"{stage.kind} {stage.details}"),
            labels.count(stage.macs),
            labels.percent(stage.macs_share),
            labels.count(stage.parameters),
            labels.percent(stage.parameters_share),
        )
    return table


def predictors_table(comparison: Comparison) -> Table:
    """How well each predictor does on the networks that none was fitted to. The one that is used is marked by a star."""
    table = Table(title="predictors on the same held-out networks")
    for name in ("predictor", "Spearman", "Kendall", "median error", "in 90 %"):
        table.add_column(name, justify="left" if name == "predictor" else "right")
    for name, entry in comparison.entries.items():
        label = f"{name} ★" if name == comparison.chosen else name
        table.add_row(label, *predictor_figures(entry))
    return table


def predictor_figures(entry: Entry) -> list[str]:
    """Spearman, Kendall, median error and coverage of one predictor, for people."""
    if entry.skipped:
        return ["not tried", "", "", ""]
    errors = entry.errors
    correlations = [f"{errors['spearman']:.3f}", f"{errors['kendall']:.3f}"]
    return [*correlations, f"{errors['mdape']:.1f} %", f"{errors['coverage90']:.0%}"]


def calibration_table(calibration: Calibration, phase: str = "") -> Table:
    """The errors of a device's predictors on networks that they were not fitted to, one column a quantity.

    Args:
        calibration: of the device.
        phase: of the networks, where it is to be told.
    """
    device = f"{calibration.device.name}, {phase}" if phase else calibration.device.name
    table = Table(title=f"{device}: {calibration.predictor.name} on networks it has not seen")
    fits = calibration.fits.values()
    table.add_column("")
    for fit in fits:
        table.add_column(Text(fit.quantity.name if len(calibration.fits) > 1 else "value"), justify="right")
    rows = {
        "networks fitted to / tested on": [f"{len(fit.reference)} / {len(fit.holdout)}" for fit in fits],
        "rank correlation (Spearman)": [f"{fit.errors['spearman']:.3f}" for fit in fits],
        "the same of MACs alone": [f"{fit.macs_spearman:.3f}" for fit in fits],
        "median error": [f"{fit.errors['mdape']:.1f} %" for fit in fits],
        "inside the 90 % interval": [f"{fit.errors['coverage90']:.0%}" for fit in fits],
        "repeat error of the measurements": [f"{calibration.holdout[0].repeat_error:.1%}"],
        "measured in": [f"{calibration.seconds:.0f} s"],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table
