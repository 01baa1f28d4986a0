"""`nas run`: the whole chain."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import ConfigArgument, JsonOption, SetOption, StorageOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    config: ConfigArgument,
    set_: SetOption = None,
    storage: StorageOption = None,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing on standard error.")] = False,
) -> None:
    """Calibrate, train, search, export, verify and report; an interrupted run goes on where it stopped.

    Exit code 1 when no network can keep the limits or the exported one fails a check.
    """
    from nas.cli.options import print_json, show, with_storage
    from nas.config import load
    from nas.errors import CheckFailed
    from nas.pipeline import run as run_all
    from nas.progress import Reporter
    from nas.report.tables import front_table, network_table, verification_table

    result = run_all(load(config, with_storage(set_, storage)), Reporter(quiet))
    verification = result.verification
    show(
        front_table(result.report),
        network_table(result.report.space, result.bundle.architecture),
        verification_table(verification.checks),
        *verification.remarks,
        f"network {result.bundle.path}\nreport  {result.path / 'report.html'}",
    )
    if json:
        front = [{"number": e.number, "key": e.architecture.key, "metrics": e.metrics} for e in result.report.front]
        print_json({"run": str(result.path), "front": front, "verification": verification.document()})
    if not verification.passed:
        raise CheckFailed(f"the exported network failed: {verification.failed}")
