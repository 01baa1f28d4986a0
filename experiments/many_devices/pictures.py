"""Accuracy against measured latency on each device, drawn as the product's reports are."""

from __future__ import annotations

from html import escape
from pathlib import Path

from experiments.many_devices.comparing import Point, points
from experiments.many_devices.evidence import Evidence
from experiments.many_devices.methods import METHODS
from nas.files import write_text
from nas.report.plots import comparison_figure


def write_pictures(found: Evidence, path: Path) -> None:
    """One page that needs no network; a picture for each device on which something was measured."""
    from plotly.offline import get_plotlyjs

    parts = []
    for device in found.devices:
        curves = {
            name: [(p.ms, 100 * p.accuracy) for p in sorted(some)] for name, some in _curves(found, device).items()
        }
        if curves:
            figure = comparison_figure(curves, f"measured latency on {device}, ms", "test accuracy, %")
            page = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})
            parts.append(f"<h2>{escape(device)}</h2>{page}")
    head = f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Many devices</title><script>{get_plotlyjs()}</script>'
    write_text(path, f"{head}<body>{''.join(parts)}</body></html>\n")


def _curves(found: Evidence, device: str) -> dict[str, list[Point]]:
    """What each method chose with its first seed; and each family that was trained alone."""
    curves = {
        method.title: found.points(name, found.seeds(name)[0], device)
        for name, method in METHODS.items()
        if found.seeds(name)
    }
    curves |= {family: points(keys, found.ms[device], found.accuracy) for family, keys in found.alone().items()}
    return {name: some for name, some in curves.items() if some}
