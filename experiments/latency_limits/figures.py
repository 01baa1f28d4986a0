"""Whether limits were met, and how far below them the networks stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.latency_limits.methods import CONSTRAINTS, METHODS
from experiments.latency_limits.stages import Trial
from latency_predictors import Prediction
from latency_predictors.metrics import errors

Floats = NDArray[np.float64]


def kept(measured_ms: Floats, limits_ms: Floats) -> dict[str, float]:
    """Figures of picks that were measured, shape (n,) each; NaN where there is no pick or no measurement.

    Returns:
        `picks`: how many were measured; `met`: share of these that keep the limit; `ratio_median`, `ratio_q90` and
        `ratio_max`: of measured to limit; `slack`: how far below its limit the median pick stays, in %.

    Raises:
        ValueError: when there is no pick at all.
    """
    ratios = (measured_ms / limits_ms)[np.isfinite(measured_ms)]
    if not len(ratios):
        raise ValueError("no pick was measured: no network is predicted to keep any of the limits")
    return {
        "picks": len(ratios),
        "met": float(np.mean(ratios <= 1)),
        "ratio_median": float(np.median(ratios)),
        "ratio_q90": float(np.quantile(ratios, 0.9)),
        "ratio_max": float(ratios.max()),
        "slack": float(100 * (1 - np.median(ratios))),
    }


def unselected(trial: Trial, method: str) -> dict[str, float]:
    """How a predictor does on random networks: `metrics.errors`, and `below`, the share under the upper end."""
    measured_ms = trial.latency_ms("check", trial.random)
    known = np.isfinite(measured_ms)
    predicted: Mapping[str, Sequence[float]] = trial.state()["picks"]["random"][method]
    prediction = Prediction(**{name: np.array(values)[known] for name, values in predicted.items()})
    below = float(np.mean(measured_ms[known] <= prediction.high_ms))
    return {**errors(prediction, measured_ms[known]), "below": below}


def figures(trial: Trial) -> dict[str, Any]:
    """All figures of a device whose stages are finished, as JSON values."""
    state = trial.state()
    limits_ms = np.array(state["picks"]["limits_ms"])
    reference = trial.reference
    drift = np.median(trial.latency_ms("check", reference) / trial.latency_ms("calibration", reference))
    methods = {
        method: {
            **{name: kept(_measured(trial, codes), limits_ms) for name, codes in picks.items()},
            "random networks": unselected(trial, method),
        }
        for method, picks in state["picks"]["codes"].items()
    }
    return {
        "limits_ms": [float(limits_ms.min()), float(limits_ms.max())],
        "methods": methods,
        "drift": float(drift),
        "calibration": state["calibration"],
        "check": state["check"],
    }


def _measured(trial: Trial, picks: Sequence[list[int] | None]) -> Floats:
    """Of each pick, NaN where there is none, shape (limits,)."""
    there = [number for number, row in enumerate(picks) if row is not None]
    measured_ms = np.full(len(picks), np.nan)
    if there:
        codes = np.array([picks[number] for number in there], dtype=np.int64)
        measured_ms[there] = trial.latency_ms("check", codes)
    return measured_ms


def mean(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Every figure of every method averaged over the devices."""
    every = [device["methods"] for device in devices.values()]
    return {
        method: {
            part: {name: float(np.mean([one[method][part][name] for one in every])) for name in names}
            for part, names in parts.items()
        }
        for method, parts in every[0].items()
    }


def tables(devices: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: the limits, the predictors, the sessions."""
    if not devices:
        return "no device has all its stages yet"
    rows = {**{name: device["methods"] for name, device in devices.items()}, "mean": mean(devices)}
    names = ["device", *(method.name for method in METHODS)]
    limits = [
        f"Limits on the {constraint}: met; median slack; 90 % quantile and maximum of measured / limit:\n\n"
        + _table(names, [[name, *(_cell(row[m.name][constraint]) for m in METHODS)] for name, row in rows.items()])
        for constraint in CONSTRAINTS
    ]
    quality = [[name, *(_quality(row[m.name]["random networks"]) for m in METHODS)] for name, row in rows.items()]
    return "\n\n".join(
        [
            *limits,
            "Random networks: measured below the 95 % bound; inside the interval; median error; Spearman:",
            _table(names, quality),
            "Sessions:",
            sessions(devices),
        ]
    )


def sessions(devices: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: how the measuring went."""
    lines = []
    for name, device in devices.items():
        low, high = device["limits_ms"]
        check, before = device["check"], device["calibration"]
        numbers = f"{low:.3g} to {high:.3g}", f"{device['drift'] - 1:+.1%}", f"{check['repeat_error']:.1%}"
        load = f"{before['load']:.1f}, {check['load']:.1f}"
        lines.append([name, *numbers, str(check["failed"]), load, f"{before['seconds']:.0f} + {check['seconds']:.0f}"])
    return _table(["device", "limits, ms", "drift", "repeat error", "failed", "load", "seconds"], lines)


def _cell(row: Mapping[str, float]) -> str:
    return f"{row['met']:.1%}; {row['slack']:.1f} %; {row['ratio_q90']:.2f}, {row['ratio_max']:.2f}"


def _quality(row: Mapping[str, float]) -> str:
    return f"{row['below']:.1%}; {row['coverage90']:.1%}; {row['mdape']:.1f} %; {row['spearman']:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
