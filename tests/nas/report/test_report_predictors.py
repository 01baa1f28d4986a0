"""The predictors that were tried are in the report."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from latency_predictors.comparison import Comparison, Entry
from nas.report import ReportData, html

REASON = "other is used in place of gaussian_process: <b>"


def test_all_predictors_are_in_a_table_and_the_one_that_is_used_is_marked(run: ReportData) -> None:
    good = Entry({"spearman": 0.987, "kendall": 0.876, "mdape": 2.34, "coverage90": 0.85}, 0.03)
    entries = {"gaussian_process": good, "other": good, "third": Entry({}, skipped="too few devices")}
    first, *rest = run.calibrations
    compared = replace(first, comparison=Comparison(entries, "other", REASON))
    page = html.render(replace(run, calibrations=(compared, *rest)))
    figures = "".join(f"<td class=number>{text}</td>" for text in ("0.987", "0.876", "2.3 %", "85%"))
    assert f"<tr><td>gaussian_process</td>{figures}</tr><tr class=chosen><td>other</td>{figures}</tr>" in page
    assert "<td>third</td><td class=number>not tried</td>" in page
    assert escape(REASON) in page
    assert REASON not in page
    alone = replace(first, comparison=Comparison({"other": good}, "other"))
    assert "<th>predictor</th>" not in html.render(replace(run, calibrations=(alone, *rest)))
