"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from latency_predictors.comparison import Comparison
from nas.files import write_text
from nas.report import labels, plots
from nas.report.data import CalibrationData, Chosen, ReportData
from nas.report.importance import NotEnoughData, choice_importance
from nas.report.network import legend, stages
from nas.report.tables import predictor_figures
from nas.search.worker import Evaluation

_ERRORS = {
    "spearman": "rank correlation (Spearman)",
    "kendall": "rank correlation (Kendall)",
    "mdape": "median error",
    "coverage90": "inside the 90 % interval",
}
_SHARES = {"mdape": 0.01, "coverage90": 1.0}  # in what part of one each is given
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_STYLE = """
:root { color-scheme: light; --ink: #1f2430; --soft: #555b66; --line: #dfe2e8; --page: #f5f6f8; --mark: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
header, main, footer { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 8px; }
h3 { font-size: 15px; margin: 18px 0 4px; }
p { margin: 6px 0 10px; max-width: 78ch; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 18px; }
a { color: var(--mark); }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin-bottom: 18px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 10px 26px; }
.grid > * { min-width: 0; }
figure { margin: 12px 0 4px; min-width: 0; }
figcaption { color: var(--soft); font-size: 13.5px; max-width: 90ch; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 12px 22px; margin: 6px 0 0; }
dl.facts div { min-width: 0; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
td.number, th.number { text-align: right; padding-right: 20px; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.chosen td { background: #fff6e0; }
details summary { cursor: pointer; font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; white-space: nowrap; }
details p { font-size: 13px; min-width: 230px; }
.passed { color: #00664a; font-weight: 600; }
.failed { color: #a34700; font-weight: 700; }
.note { border-left: 4px solid #e69f00; padding-left: 12px; }
footer { color: var(--soft); font-size: 13px; padding-bottom: 30px; }
@media (max-width: 600px) { header, main, footer { padding: 0 10px; } header { padding-top: 18px; } section { padding: 14px 12px; } h1 { font-size: 22px; } }
@media print { body { background: white; } nav { display: none; } section { border: none; break-inside: avoid; } }
"""
_DRAW = """
document.querySelectorAll('.plot').forEach(place => {
  const figure = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, figure.data, figure.layout, {responsive: true, displayModeBar: false});
});
"""


class _Markup(str):
    """Text that is HTML already; any other text is escaped."""


def render(data: ReportData) -> str:
    """The page."""
    from plotly.offline import get_plotlyjs

    sections = [section for section in _sections(data) if section[2]]
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{escape(heading)}</h2>{content}</section>\n' for name, heading, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(data.title)}</title>\n<style>{_STYLE}</style>\n"
        f"<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"<header><h1>{escape(data.title)}</h1><nav>{links}</nav></header>\n<main>\n{body}</main>\n"
        "<footer>Made by Nasmyth. This page needs no network; point at a mark of a plot for its details.</footer>\n"
        f"<script>{_DRAW}</script>\n</body>\n</html>\n"
    )


def write(data: ReportData, path: str | os.PathLike[str]) -> None:
    """Write the page; the file at `path` is the old one or the whole new one at any time."""
    write_text(Path(path), render(data))


def _sections(data: ReportData) -> list[tuple[str, str, str]]:
    """Anchor, heading and content of each section; empty content leaves it out."""
    return [
        ("summary", "Summary", _summary(data)),
        ("chosen", "The chosen network", _chosen(data, data.chosen) if data.chosen else ""),
        ("front", "The Pareto front", _front(data)),
        ("progress", "Progress of the search", _progress(data)),
        (
            "latency",
            "Prediction on the device",
            "".join(map(_calibration, data.calibrations, range(len(data.calibrations)))),
        ),
        ("importance", "Which choices matter", _importance(data)),
        ("training", "Training", _training(data)),
    ]


def _summary(data: ReportData) -> str:
    feasible, stopped = int(data.feasible.sum()), int((~data.complete).sum())
    search = [
        ("evaluated networks", f"{len(data.evaluations):,}"),
        ("within all limits", f"{feasible:,}"),
        *([("stopped early, before all images", f"{stopped:,}")] if stopped else []),
        ("on the front", f"{len(data.front):,}"),
        ("objectives", ", ".join(f"{o.direction} {labels.objective_metric(o).text}" for o in data.objectives)),
    ]
    limits = [(f"limit of {metric.text}", f"at most {metric.show(value)}") for metric, value in _limits(data)]
    return _facts([*data.facts, *search, *limits])


def _limits(data: ReportData) -> list[tuple[labels.Metric, float]]:
    units = {objective.name: objective.unit for objective in data.objectives}
    return [(labels.metric(name, units.get(name, "")), value) for name, value in data.limits.items()]


def _chosen(data: ReportData, chosen: Chosen) -> str:
    metrics = [(metric.text, _value(metric, chosen.metrics)) for metric in _metrics(data)]
    parts = [_facts([*metrics, ("key", chosen.architecture.key)])]
    if chosen.verification:
        failed = [check.name for check in chosen.verification if not check.passed]
        verdict = f"Failed: {', '.join(failed)}." if failed else f"All {len(chosen.verification)} checks passed."
        rows = [(check.name, _result(check.passed), check.expected, check.found) for check in chosen.verification]
        parts += ["<h3>Verification of the export</h3>", f"<p>{escape(verdict)}</p>"]
        parts.append(_table(("check", "result", "expected", "found"), rows))
    else:
        parts.append('<p class="note">Its export has not been verified.</p>')
    drawn = stages(data.space, chosen.architecture)
    caption = (
        f"{len(drawn)} slots in running order, with {legend(data.space, chosen.architecture)}, "
        f"input→output channels and size of the output. Shares are of the whole network{_first_phase(data)}: "
        f"{labels.count(sum(s.macs for s in drawn))} MACs, {labels.count(sum(s.parameters for s in drawn))} parameters."
    )
    parts.append("<h3>Slot by slot</h3>")
    parts.append(_plot("network", plots.network_figure(data.space, chosen.architecture), caption))
    parts.append(f"<details><summary>choices</summary>{_choices(data, [chosen.architecture])[0]}</details>")
    return "".join(parts)


def _first_phase(data: ReportData) -> str:
    """Which phase a network is drawn in, where there are several."""
    phases = data.space.phases
    return f" in the phase {phases[0]}" if len(phases) > 1 else ""


def _front(data: ReportData) -> str:
    if not data.evaluations:
        return '<p class="note">No network has been evaluated.</p>'
    figures = [
        _plot(f"front-{index}", plots.front_figure(data, x, y), _front_caption(x.name, y.name))
        for index, (x, y) in enumerate(plots.front_pairs(data))
    ]
    metrics = _metrics(data)
    if not data.front:
        table = '<p class="note">No evaluated network keeps all limits, so there is no front.</p>'
    else:
        choices = _choices(data, [evaluation.architecture for evaluation in data.front])
        table = _table(
            ("number", *(metric.title for metric in metrics), "network"),
            [
                (str(e.number), *(_value(metric, e.metrics, unit=False) for metric in metrics), _network(data, e, text))
                for e, text in zip(data.front, choices, strict=True)
            ],
            numeric=range(len(metrics) + 1),
            marked=[row for row, e in enumerate(data.front) if data.is_chosen(e.architecture)],
        )
    return f'<div class="grid">{"".join(figures)}</div><h3>Members of the front</h3>{table}'


def _front_caption(x: str, y: str) -> str:
    return (
        f"{labels.metric(y).text} against {labels.metric(x).text}. Diamonds are on the front of all objectives; "
        "the line is the front of these two alone."
    )


def _network(data: ReportData, evaluation: Evaluation, choices: str) -> _Markup:
    name = evaluation.architecture.key + (" (chosen)" if data.is_chosen(evaluation.architecture) else "")
    return _Markup(f"<details><summary>{escape(name)}</summary>{choices}</details>")


def _progress(data: ReportData) -> str:
    if not data.eligible.any():
        return ""
    caption = (
        "The volume that the networks found so far dominate, of the box between the best value of each objective and a "
        "point a tenth of the range worse than the worst one. A line that has long been flat suggests that more "
        "evaluations would find little."
    )
    return _plot("progress", plots.progress_figure(data), caption)


def _calibration(calibration: CalibrationData, index: int) -> str:
    errors = [
        (_ERRORS.get(name, name), labels.percent(value * _SHARES[name]) if name in _SHARES else f"{value:.3f}")
        for name, value in calibration.errors.items()
    ]
    facts = [
        ("predictor", calibration.predictor),
        ("measured to calibrate", f"{len(calibration.reference_measured)} networks"),
        ("measured to check", f"{len(calibration.holdout_measured)} networks"),
        *errors,
        ("Spearman of MACs alone", f"{calibration.macs_spearman:.3f}"),
    ]
    caption = "Errors are of networks that the predictor has not seen. Bars are its 90 % intervals."
    figure = _plot(f"latency-{index}", plots.calibration_figure(calibration), caption)
    name = labels.metric(f"{calibration.quantity}.{calibration.device}").text
    compared = _predictors(calibration.comparison)
    return f'<h3>{escape(name)}</h3><div class="grid">{figure}<div>{_facts(facts)}{compared}</div></div>'


def _predictors(comparison: Comparison | None) -> str:
    """All that were tried, when there are several."""
    if comparison is None or len(comparison.entries) < 2:
        return ""
    rows = [(name, *predictor_figures(entry)) for name, entry in comparison.entries.items()]
    headings = ("predictor", "Spearman", "Kendall", "median error", "in 90 %")
    table = _table(headings, rows, range(1, 5), [[*comparison.entries].index(comparison.chosen)])
    return f'{table}<p class="note">{escape(comparison.reason)}</p>'


def _importance(data: ReportData) -> str:
    parts = []
    for index, objective in enumerate(data.objectives):
        heading = f"<h3>{escape(labels.objective_metric(objective).text)}</h3>"
        try:
            found = choice_importance(
                data.space, [evaluation.architecture for evaluation in data.evaluations], data.values[:, index]
            )
        except NotEnoughData as error:
            parts.append(f'<div>{heading}<p class="note">{escape(str(error))}</p></div>')
            continue
        explained = f"{100 * max(0.0, found.explained):.0f} %"
        caption = f"Share of the variance that depends on each choice. A random forest explains {explained} of the variance of networks it was not fitted to ({found.evaluations} networks)."
        if found.explained < 0.3:
            caption += " That is little: do not rely on this ranking."
        parts.append(f"<div>{heading}{_plot(f'importance-{index}', plots.importance_figure(found), caption)}</div>")
    return f'<div class="grid">{"".join(parts)}</div>'


def _training(data: ReportData) -> str:
    parts = []
    if data.training:
        last = data.training[-1]
        caption = f"{last.step:,} steps, {last.epoch:g} epochs, {last.seconds:,.0f} s."
        parts.append(_plot("training", plots.training_figure(data.training), caption))
    if data.subnets:
        units = {objective.name: objective.unit for objective in data.objectives}
        names = dict.fromkeys(name for figures in data.subnets.values() for name in figures)
        metrics = [labels.metric(name, units.get(name, "")) for name in names]
        rows = [
            (subnet, *(metric.show(figures[metric.name]) for metric in metrics))
            for subnet, figures in data.subnets.items()
        ]
        headings = ("subnet after training", *(metric.text[:1].lower() + metric.text[1:] for metric in metrics))
        parts.append(_table(headings, rows, numeric=range(1, len(headings))))
    return "".join(parts)


def _metrics(data: ReportData) -> list[labels.Metric]:
    known = [objective.name for objective in data.objectives]
    limited = [metric for metric, _ in _limits(data) if metric.name not in known]
    return [*map(labels.objective_metric, data.objectives), *limited]


def _value(metric: labels.Metric, metrics: Mapping[str, float], unit: bool = True) -> str:
    value = metric.show(metrics[metric.name]) if unit else metric.number(metrics[metric.name])
    ends = labels.interval(metrics, metric.name)
    return value if ends is None else f"{value} ({metric.number(ends[0])} to {metric.number(ends[1])})"


def _choices(data: ReportData, architectures: Sequence[Any]) -> list[str]:
    return ["<p>" + "<br>".join(map(escape, lines)) + "</p>" for lines in labels.compact(data.space, architectures)]


def _result(passed: bool) -> _Markup:
    return _Markup('<span class="passed">passed</span>' if passed else '<span class="failed">FAILED</span>')


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), marked: Iterable[int] = ()
) -> str:
    """A table; `numeric` columns are flush right, `marked` rows have the chosen network's background."""
    columns, special = set(numeric), set(marked)

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if column in columns else ''}>{cell if isinstance(cell, _Markup) else escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )

    body = "".join(
        f"<tr{' class=chosen' if number in special else ''}>{row(cells, 'td')}</tr>"
        for number, cells in enumerate(rows)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{row(headings, "th")}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _plot(name: str, figure: Any, caption: str) -> str:
    """A figure with its caption; its height is fixed and its width follows the page. It is drawn when the page is laid
    out, so that its width is known."""
    described = figure.to_json().replace("<", "\\u003c")
    return (
        f'<figure><div class="plot" id="plot-{name}" role="img" aria-label="{escape(caption)}" '
        f'style="height:{figure.layout.height}px"></div><script type="application/json">{described}</script>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
