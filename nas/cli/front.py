"""`nas front`: the Pareto front as a table."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import JsonOption, RunArgument


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("front")(front)


def front(
    run: RunArgument,
    json: JsonOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each network why it was evaluated.")] = False,
) -> None:
    """Show the networks that no other one beats in every objective, among those that keep the limits."""
    from nas.cli.options import print_json, show
    from nas.pipeline import existing_stages
    from nas.report.gather import gather
    from nas.report.tables import front_table, proposals_table

    data = gather(existing_stages(run))
    if json:
        members = [
            {
                "number": e.number,
                "key": e.architecture.key,
                "metrics": e.metrics,
                "values": e.architecture.values,
                "proposal": dict(e.proposal),
            }
            for e in data.front
        ]
        print_json({"objectives": [o.name for o in data.objectives], "front": members})
        return
    show(front_table(data), *([proposals_table(data)] if explain else []))
