"""`nas worker`: one more process for a running search."""

from __future__ import annotations

import typer

from nas.cli.options import RunArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(run: RunArgument) -> None:
    """Help a search on this machine: evaluate networks of its study until the budget is spent.

    Start as many as the machine has room for, at any time; a killed one loses nothing.
    """
    from nas.pipeline import existing_stages
    from nas.progress import Reporter

    stages = existing_stages(run, Reporter())
    stages.search()
