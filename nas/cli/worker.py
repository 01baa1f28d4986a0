"""`nas worker`: one more process for a search."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nas.cli.options import RunArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    run: RunArgument,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="How this host reaches the database, when it is not as in search.storage."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where to evaluate: in this process, or on all nodes of a Ray cluster."),
    ] = "local",
) -> None:
    """Help a search, or begin it: evaluate networks of the study of a trained run until the budget is spent.

    Start as many as there is room for, at any time. Those on other hosts need the run's directory, which they only read,
    and a database for the study (search.storage). A worker that ends, however it ends, gives its network back: the others
    evaluate it. With --engine ray one worker has a whole cluster evaluate. SIGTERM ends it at once, with exit code 143 (the batch system wants the node back); Ctrl-C with 130.
    """
    from nas.pipeline import existing_stages
    from nas.progress import Reporter

    existing_stages(run, Reporter(), storage=storage, engine=engine).search()
