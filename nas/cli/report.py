"""`nas report`: the HTML report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import RunArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    run: RunArgument,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="By default report.html in the run.")] = None,
) -> None:
    """Write one HTML file with the front, the progress, the calibration, what matters, and the chosen network."""
    from nas.pipeline import existing_stages, write_report
    from nas.progress import Reporter

    stages = existing_stages(run, Reporter())
    write_report(stages, to or stages.run.report_file)
