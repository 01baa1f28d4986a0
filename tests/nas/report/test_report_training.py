"""The report of a training: of every strategy, finished or not."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

from nas.pipeline import existing_stages, write_report
from nas.report.data import TrainingRow
from nas.report.plots import training_figure
from nas.training.log import EpochLog, write_log

ATTACK = "<script>alert('owned')</script>"


def test_losses_that_come_later_or_pause_are_drawn_where_they_are() -> None:
    rows = [
        TrainingRow(10, 1, 1.0, {"largest": 3.0}),
        TrainingRow(20, 2, 2.0, {"largest": 2.0, "smallest": 2.5, "random1": 2.2}),
        TrainingRow(30, 3, 3.0, {"largest": 1.0, "random1": 1.5}),
        TrainingRow(40, 4, 4.0, {"sampled": 1.2}),
    ]
    found = {trace.name: (list(trace.x), list(trace.y), trace.mode) for trace in training_figure(rows).data}
    assert found == {
        "largest": ([10, 20, 30], [3.0, 2.0, 1.0], "lines"),
        "smallest": ([20], [2.5], "markers"),
        "random1": ([20, 30], [2.2, 1.5], "lines"),
        "sampled": ([40], [1.2], "markers"),
    }
    assert not training_figure([]).data


def test_report_of_a_run_in_training(copied: Path) -> None:
    """With calibration and some epochs only, as a training leaves it that goes on or was killed."""
    for file in ("supernet.safetensors", "training.json", "study.journal", "report.html"):
        (copied / file).unlink()
    (copied / "exports").rename(copied.parent / "exports")
    logs = [EpochLog(10, 1, 2.0, 0.1, {"largest": 2.0, ATTACK: 1.0}), EpochLog(20, 2, 4.4, 0.1, {"largest": 1.0})]
    write_log(copied / "training.jsonl", logs)
    data = write_report(existing_stages(copied), copied / "report.html")
    assert [(row.step, row.epoch, row.seconds, row.losses) for row in data.training] == [
        (log.step, log.epoch, log.seconds, log.losses) for log in logs
    ]
    assert dict(data.facts)["training"] == "sandwich, 2 of 2 epochs in 4 s"
    page = (copied / "report.html").read_text()
    assert ATTACK not in page
    described = re.search(r'id="plot-training".*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert described is not None
    assert [trace["name"] for trace in json.loads(described.group(1))["data"]] == ["largest", escape(ATTACK)]
    assert "20 steps, 2 epochs, 4 s." in page
    assert "No network has been evaluated." in page


def test_summary_of_a_finished_training(finished: Path) -> None:
    shown = re.sub("<[^>]+>", " ", (finished / "report.html").read_text())
    assert re.search(
        r"training\s+sandwich, 2 epochs in [\d,]+ s, float32 on \w+(, channels last)?",
        shown,
    )
