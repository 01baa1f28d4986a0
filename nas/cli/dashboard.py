"""`nas dashboard`: optuna-dashboard on the study of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import RunArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dashboard")(dashboard)


def dashboard(
    run: RunArgument,
    port: Annotated[int, typer.Option(help="On this machine.")] = 8080,
) -> None:
    """Watch a search in the browser, also while it runs (needs the extra `dashboard`)."""
    from nas.errors import UsageError
    from nas.pipeline import existing_stages

    try:
        from optuna_dashboard import run_server
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("optuna-dashboard is not installed: pip install 'nasmyth[dashboard]'") from error
    stages = existing_stages(run)
    if not stages.searched:
        raise UsageError(f"no search was started in {run} yet; 'nas run' and 'nas search' do")
    run_server(stages.store.open(), host="127.0.0.1", port=port)
