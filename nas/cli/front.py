"""`nas front`: the Pareto front as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, RunArgument

if TYPE_CHECKING:
    from nas.report.data import ReportData
    from nas.search.additive_bound import AdditiveBound
    from nas.stages import Stages


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("front")(front)


def front(
    run: RunArgument,
    json: JsonOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each network why it was evaluated.")] = False,
    bound: Annotated[
        bool,
        typer.Option(
            "--bound",
            help="Add the best accuracy (or whatever the one evaluated objective is) that any network may have that is no "
            "worse in the predicted objectives, such as "
            "latency, under a model in which the choices add up. It is a bound of this model, not of the truth.",
        ),
    ] = False,
) -> None:
    """Show the networks that no other one beats in every objective, among those that keep the limits."""
    from nas.cli.options import print_json, show
    from nas.pipeline import existing_stages
    from nas.report.gather import gather_front
    from nas.report.tables import bound_note, front_table, proposals_table

    stages = existing_stages(run)
    data = gather_front(stages)
    found = _bound(stages, data) if bound else None
    if json:
        members = [
            {
                "number": e.number,
                "key": e.architecture.key,
                "metrics": e.metrics,
                "values": e.architecture.values,
                "proposal": dict(e.proposal),
                **({} if found is None else {"bound": found.bound[row], "modelled": found.modelled[row]}),
            }
            for row, e in enumerate(data.front)
        ]
        model = {} if found is None else {"bound": _model(found)}
        print_json({"objectives": [o.name for o in data.objectives], "front": members, **model})
        return
    show(
        front_table(data, found), *([bound_note(found)] if found else []), *([proposals_table(data)] if explain else [])
    )


def _model(found: AdditiveBound) -> dict[str, Any]:
    """What the bounds are of, as JSON values."""
    return {
        "objective": found.objective,
        "costs": list(found.costs),
        "model": "additive",
        "fitted_networks": found.fitted,
        "median_error": found.error,
    }


def _bound(stages: Stages, data: ReportData) -> AdditiveBound:
    """At the costs of each network of the front."""
    import numpy as np

    from nas.progress import Reporter
    from nas.search.additive_bound import additive_bound

    name = next((metric.name for metric in stages.objectives if metric.values is None), "")
    evaluated = [e for e in data.evaluations if e.complete]
    with Reporter().progress("bounds of the additive model") as advance:
        return additive_bound(
            stages.space,
            stages.objectives,
            stages.space.codes([e.architecture for e in evaluated]),
            np.array([e.metrics.get(name, np.nan) for e in evaluated]),
            stages.space.codes([e.architecture for e in data.front]),
            stages.config.seed,
            advance,
        )
