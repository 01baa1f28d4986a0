"""`nas verify`: a bundle on a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A directory made by 'nas export' or 'nas run'.")],
    device: Annotated[str, typer.Option(help="Where to run it; 'nas device list' shows the names.")] = "local",
    engine: Annotated[str, typer.Option(help="What measures the device: local, or ray for a Ray cluster.")] = "local",
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A search space of your own, package.module:function, which the bundle may call."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run an exported network on a device: same outputs as torch, as good as the study found, latency measured, limits met.

    Exit code 1 when a check fails or a file of the bundle was changed.
    """
    from latency_predictors import Device
    from latency_predictors.devices import engines
    from nas.cli.options import print_json, show
    from nas.errors import CheckFailed
    from nas.export.bundle import Bundle
    from nas.export.verification import verify as verify_bundle
    from nas.report.tables import verification_table

    verification = verify_bundle(Bundle(bundle, space), Device.load(device), engine=engines.make(engine))
    show(verification_table(verification.checks), *verification.remarks)
    if json:
        print_json(verification.document())
    if not verification.passed:
        raise CheckFailed(f"failed: {verification.failed}")
