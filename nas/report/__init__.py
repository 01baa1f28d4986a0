"""The report of a search: one self-contained HTML page (`nas.report.html`) and tables for the terminal
(`nas.report.tables`), both made from a `ReportData`."""

from __future__ import annotations

from nas.export.check import Check
from nas.report.data import CalibrationData, Chosen, Objective, ReportData, TrainingRow
from nas.report.pareto import hypervolume, hypervolume_history, pareto_front, reference_point
from nas.search.metrics import Direction
from nas.search.worker import Evaluation

__all__ = [
    "CalibrationData",
    "Check",
    "Chosen",
    "Direction",
    "Evaluation",
    "Objective",
    "ReportData",
    "TrainingRow",
    "hypervolume",
    "hypervolume_history",
    "pareto_front",
    "reference_point",
]
