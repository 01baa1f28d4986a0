"""The figures of a report. Colours are those of Okabe and Ito, told apart by most colour-blind people; markers, lines
and words never leave the meaning to colour alone. Text from data is escaped, since plotly reads it as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from nas.report import labels
from nas.report.data import CalibrationData, Objective, ReportData, TrainingRow
from nas.report.importance import Importance
from nas.report.labels import Metric
from nas.report.network import Stage, stages
from nas.report.pareto import hypervolume_history, pareto_front, reference_point
from search_spaces import Architecture, SearchSpace

_BLACK, _ORANGE, _SKY, _GREEN, _YELLOW, _BLUE, _VERMILLION, _PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
_CYCLE = (_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _VERMILLION, _YELLOW, _BLACK)
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")
_GREY, _GRID, _INK = "#8a8f98", "#e6e8ec", "#1f2430"
_IMPORTANT = 15
_ROW_PIXELS = 46


def front_pairs(data: ReportData) -> list[tuple[Objective, Objective]]:
    """The planes in which the front is drawn: the first objective upwards against every other objective and every
    limited metric."""
    first, *others = data.objectives
    known = {objective.name for objective in data.objectives}
    others += [Objective(name, "minimize") for name in data.limits if name not in known]
    return [(other, first) for other in others]


def front_figure(data: ReportData, x: Objective, y: Objective) -> go.Figure:
    """All evaluations in the plane of two metrics; the line is the front of these two alone."""
    x_metric, y_metric = labels.objective_metric(x), labels.objective_metric(y)
    points = data.metric_values(x.name, y.name)
    shown = points * (x_metric.factor, y_metric.factor)
    hover = _hover_text(
        data,
        [f"evaluation {evaluation.number}" for evaluation in data.evaluations],
        [evaluation.architecture for evaluation in data.evaluations],
        [evaluation.metrics for evaluation in data.evaluations],
    )
    figure = _figure(460, x_metric.title, y_metric.title)
    edge = np.flatnonzero(pareto_front(points, (x.direction, y.direction), data.eligible))
    edge = edge[np.lexsort((shown[edge, 1], shown[edge, 0]))]
    figure.add_scatter(
        x=shown[edge, 0],
        y=shown[edge, 1],
        mode="lines",
        line={"color": _BLUE, "width": 2, "shape": "hv" if x.direction == "minimize" else "vh"},
        name="best trade-off",
        hoverinfo="skip",
    )
    kinds: list[tuple[str, NDArray[np.bool_], dict[str, object]]] = [
        ("misses a limit", ~data.feasible, {"symbol": "x-thin", "size": 7, "line": {"color": _GREY, "width": 1.5}}),
        (
            "dominated",
            data.eligible & ~data.on_front,
            {"symbol": "circle", "size": 7, "color": _SKY, "opacity": 0.75},
        ),
        (
            "stopped early, estimated",
            data.feasible & ~data.complete,
            {"symbol": "circle-open", "size": 7, "color": _SKY, "opacity": 0.75},
        ),
        (
            "on the front",
            data.on_front,
            {"symbol": "diamond", "size": 10, "color": _BLUE, "line": {"color": "white", "width": 1}},
        ),
    ]
    for name, mask, marker in kinds:
        rows = np.flatnonzero(mask)
        if rows.size:
            figure.add_scatter(
                x=shown[rows, 0],
                y=shown[rows, 1],
                mode="markers",
                marker=marker,
                name=name,
                hovertext=[hover[row] for row in rows],
                hoverinfo="text",
            )
    if data.chosen is not None:
        figure.add_scatter(
            x=[data.chosen.metrics[x.name] * x_metric.factor],
            y=[data.chosen.metrics[y.name] * y_metric.factor],
            mode="markers",
            marker={"symbol": "star", "size": 19, "color": _ORANGE, "line": {"color": _BLACK, "width": 1.2}},
            name="chosen",
            hovertext=_hover_text(data, ["chosen network"], [data.chosen.architecture], [data.chosen.metrics]),
            hoverinfo="text",
        )
    _draw_limits(figure, data, x_metric, y_metric)
    return figure


def _draw_limits(figure: go.Figure, data: ReportData, x: Metric, y: Metric) -> None:
    line = {"line_dash": "dash", "line_color": _VERMILLION, "line_width": 1.5}
    style = {"font": {"color": "#a34700", "size": 12}, "bgcolor": "rgba(255,255,255,0.85)", "showarrow": False}
    if x.name in data.limits:
        limit = data.limits[x.name]
        figure.add_vline(limit * x.factor, **line)
        figure.add_annotation(
            x=limit * x.factor,
            y=0,
            yref="paper",
            xanchor="right",
            yanchor="bottom",
            text=f"limit {escape(x.show(limit))}",
            **style,
        )
    if y.name in data.limits:
        limit = data.limits[y.name]
        figure.add_hline(limit * y.factor, **line)
        figure.add_annotation(
            y=limit * y.factor,
            x=1,
            xref="paper",
            xanchor="right",
            yanchor="bottom",
            text=f"limit {escape(y.show(limit))}",
            **style,
        )


def progress_figure(data: ReportData) -> go.Figure:
    """Hypervolume after each evaluation, as a share of the box from the reference point to the best value of each
    objective."""
    feasible = data.values[data.eligible]
    reference = reference_point(feasible, data.directions)
    best = np.where(
        [direction == "maximize" for direction in data.directions], feasible.max(axis=0), feasible.min(axis=0)
    )
    history = hypervolume_history(data.values, data.directions, reference, data.eligible)
    share = 100 * history / np.prod(np.abs(best - reference))
    figure = _figure(340, "evaluations", "hypervolume, % of the box")
    figure.add_scatter(
        x=np.arange(1, len(share) + 1),
        y=share,
        mode="lines",
        line={"color": _BLUE, "width": 2.5, "shape": "hv"},
        fill="tozeroy",
        fillcolor="rgba(86,180,233,0.18)",
        hovertemplate="after %{x} evaluations: %{y:.1f} %<extra></extra>",
        showlegend=False,
    )
    figure.update_yaxes(range=[0, 105])
    return figure


def calibration_figure(calibration: CalibrationData) -> go.Figure:
    """Predicted against measured values of one device, with the 90 % intervals of networks not used for fitting."""
    metric = labels.metric(calibration.quantity)
    title, unit = metric.title[:1].lower() + metric.title[1:], metric.unit
    figure = _figure(440, f"measured {title}", f"predicted {title}")
    both = np.concatenate(
        [
            calibration.reference_measured,
            calibration.reference_predicted,
            calibration.holdout_measured,
            calibration.holdout_low,
            calibration.holdout_high,
        ]
    )
    pad = 0.04 * float(np.ptp(both)) or 0.04 * float(both.max())
    ends = [float(both.min()) - pad, float(both.max()) + pad]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": _GREY, "dash": "dash", "width": 1.5},
        name="exact",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=calibration.holdout_measured,
        y=calibration.holdout_predicted,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": calibration.holdout_high - calibration.holdout_predicted,
            "arrayminus": calibration.holdout_predicted - calibration.holdout_low,
            "thickness": 1.3,
            "width": 3,
            "color": _SKY,
        },
        mode="markers",
        marker={"color": _BLUE, "size": 8},
        name="held out, with 90 % interval",
        customdata=np.stack([calibration.holdout_low, calibration.holdout_high], axis=1),
        hovertemplate=f"measured %{{x:.4g}} {unit}<br>predicted %{{y:.4g}} {unit}<br>"
        f"interval %{{customdata[0]:.4g}} to %{{customdata[1]:.4g}} {unit}<extra></extra>",
    )
    figure.add_scatter(
        x=calibration.reference_measured,
        y=calibration.reference_predicted,
        mode="markers",
        marker={"symbol": "square-open", "color": _VERMILLION, "size": 9, "line": {"width": 2}},
        name="used for calibration",
        hovertemplate=f"measured %{{x:.4g}} {unit}<br>predicted %{{y:.4g}} {unit}<extra></extra>",
    )
    figure.update_xaxes(range=ends)
    figure.update_yaxes(range=ends)
    return figure


def importance_figure(importance: Importance) -> go.Figure:
    """The choices that decide an objective most, with the spread between the forests."""
    ranked = importance.choices[:_IMPORTANT][::-1]
    figure = _figure(110 + 24 * len(ranked), "share of the variance, %", "")
    figure.add_bar(
        x=[100 * choice.mean for choice in ranked],
        y=[escape(choice.choice) for choice in ranked],
        orientation="h",
        marker_color=_SKY,
        error_x={
            "type": "data",
            "array": [100 * choice.deviation for choice in ranked],
            "thickness": 1.2,
            "width": 3,
            "color": _INK,
        },
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(showgrid=False, type="category")
    return figure


def training_figure(rows: Sequence[TrainingRow]) -> go.Figure:
    """The losses over the steps of training."""
    figure = _figure(360, "training step", "loss")
    names = list(dict.fromkeys(name for row in rows for name in row.losses))
    for index, name in enumerate(names):
        known = [row for row in rows if name in row.losses]
        figure.add_scatter(
            x=[row.step for row in known],
            y=[row.losses[name] for row in known],
            mode="lines" if len(known) > 1 else "markers",
            line={"color": _CYCLE[index % len(_CYCLE)], "dash": _DASHES[index % len(_DASHES)], "width": 2},
            name=escape(name),
            customdata=[[row.epoch, row.seconds] for row in known],
            hovertemplate="step %{x}, epoch %{customdata[0]:.3g}, %{customdata[1]:,.0f} s: %{y:.4g}",
            showlegend=True,
        )
    return figure


def comparison_figure(curves: Mapping[str, Sequence[tuple[float, float]]], x_title: str, y_title: str) -> go.Figure:
    """Points of several methods in one plane, those of each joined in their order; the first axis is logarithmic."""
    figure = _figure(460, x_title, y_title)
    for index, (name, points) in enumerate(curves.items()):
        xs, ys = zip(*points, strict=True)
        figure.add_scatter(
            x=xs,
            y=ys,
            mode="lines+markers",
            line={"color": _CYCLE[index % len(_CYCLE)], "dash": _DASHES[index % len(_DASHES)], "width": 2},
            marker={"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 8},
            name=escape(name),
            hovertemplate="%{x:.4g}, %{y:.4g}",
            showlegend=True,
        )
    figure.update_xaxes(type="log")
    return figure


def network_figure(space: SearchSpace, architecture: Architecture, phase: str | None = None) -> go.Figure:
    """The slots of a network from top to bottom in running order: output channels, share of MACs, of parameters."""
    rows = stages(space, architecture, phase)
    headings = ("output channels", "MACs", "parameters")
    figure = make_subplots(1, 3, shared_yaxes=True, column_widths=[0.44, 0.28, 0.28], horizontal_spacing=0.03)
    kinds = list(dict.fromkeys(stage.kind for stage in rows))
    places = np.arange(len(rows), dtype=float)
    lengths = np.array([[s.channels, 100 * s.macs_share, 100 * s.parameters_share] for s in rows], dtype=float)
    for index, kind in enumerate(kinds):
        members = [row for row, stage in enumerate(rows) if stage.kind == kind]
        for column in range(3):
            values = lengths[members, column]
            figure.add_bar(
                x=values,
                y=places[members] + 0.2,
                width=0.42,
                orientation="h",
                marker={"color": _CYCLE[index % len(_CYCLE)], "line": {"color": _INK, "width": 0.6}},
                text=[f"{value:.0f}" if column == 0 else f"{value:.1f} %" for value in values],
                textposition="outside",
                textfont={"size": 11, "color": _INK},
                cliponaxis=False,
                hovertext=[_stage_text(rows[row]) for row in members],
                hoverinfo="text",
                name=escape(kind),
                legendgroup=kind,
                showlegend=column == 0,
                row=1,
                col=column + 1,
            )
    for row, stage in enumerate(rows):
        figure.add_annotation(
            text=f"<b>{escape(stage.name)}</b>  {escape(stage.kind)} {escape(stage.details)}",
            x=0,
            y=row - 0.2,
            xref="x domain",
            yref="y",
            xanchor="left",
            showarrow=False,
            font={"size": 11, "color": _INK},
        )
    _style(figure, 120 + _ROW_PIXELS * len(rows))
    for column, heading in enumerate(headings):
        longest = float(lengths[:, column].max()) or 1.0
        figure.update_xaxes(range=[0, longest * (1.3, 1.6, 1.6)[column]], visible=False, row=1, col=column + 1)
        figure.add_annotation(
            text=heading,
            x=0,
            y=-0.75,
            xref=f"x{column + 1 if column else ''} domain",
            yref="y",
            xanchor="left",
            showarrow=False,
            font={"size": 12, "color": "#555b66"},
        )
    figure.update_yaxes(range=[len(rows) - 0.4, -1.1], visible=False)
    figure.update_layout(barmode="overlay", margin={"l": 8, "r": 8})
    return figure


def _stage_text(stage: Stage) -> str:
    arguments = "<br>".join(escape(line) for line in wrap(stage.arguments, 60))
    return (
        f"<b>{escape(stage.name)}</b>: {escape(stage.kind)}<br>{arguments}<br>"
        f"{labels.count(stage.macs)} MACs ({labels.percent(stage.macs_share)}), "
        f"{labels.count(stage.parameters)} parameters ({labels.percent(stage.parameters_share)})"
    )


def _hover_text(
    data: ReportData,
    headings: Sequence[str],
    architectures: Sequence[Architecture],
    metrics: Sequence[Mapping[str, float]],
) -> list[str]:
    """For each network its heading, its objectives and limited metrics, and its choices."""
    known = {objective.name: labels.objective_metric(objective) for objective in data.objectives}
    known |= {name: labels.metric(name) for name in data.limits if name not in known}
    texts = []
    for heading, found, choices in zip(headings, metrics, labels.compact(data.space, architectures), strict=True):
        lines = [f"{metric.text}: {metric.show(found[name])}" for name, metric in known.items()]
        lines += [part for choice in choices for part in wrap(choice, 60, subsequent_indent="    ")]
        texts.append("<br>".join([f"<b>{heading}</b>", *map(escape, lines)]))
    return texts


def _figure(height: int, x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure()
    _style(figure, height)
    figure.update_xaxes(title=escape(x_title))
    figure.update_yaxes(title=escape(y_title))
    return figure


def _style(figure: go.Figure, height: int) -> None:
    axis = {
        "gridcolor": _GRID,
        "linecolor": _GREY,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": _GRID,
        "automargin": True,
    }
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 16, "t": 16, "b": 8},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": _INK},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"color": _INK, "size": 12}},
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
