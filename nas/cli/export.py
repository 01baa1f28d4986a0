"""`nas export`: one network of a run as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas.cli.options import RunArgument

Precision = Literal["float32", "int8"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    run: RunArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Directory of the bundle.")],
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="LIMIT",
            help="Such as 'latency_ms.local <= 5', or '<= 50 %' of the largest network's; may be repeated. "
            "The upper end of a predicted interval must keep it.",
        ),
    ] = None,
    maximize: Annotated[str | None, typer.Option(metavar="METRIC", help="Metric of which more is better.")] = None,
    minimize: Annotated[str | None, typer.Option(metavar="METRIC", help="Metric of which less is better.")] = None,
    finetune: Annotated[
        float | None,
        typer.Option(
            metavar="EPOCHS",
            help="Train the network further before it is exported; by default export.finetune.epochs of the run.",
        ),
    ] = None,
    weights: Annotated[
        Precision | None,
        typer.Option(help="Precision of a language model's weights; by default export.weights of the run."),
    ] = None,
) -> None:
    """Export the best network within limits as ONNX, with its weights and all that is known of it. A language model
    becomes two graphs, of a prompt and of the next token, with its tokenizer and a program that writes text.

    Without --maximize or --minimize the first objective of the search decides. A killed fine-tuning goes on where it
    stopped. Exit code 1 when no network fits.
    """
    from nas.cli.options import show
    from nas.pipeline import existing_stages
    from nas.pipeline import export as export_bundle
    from nas.progress import Reporter
    from nas.report.tables import network_table

    stages = existing_stages(run, Reporter())
    bundle = export_bundle(stages, to, where, maximize, minimize, finetune, weights)
    show(network_table(stages.space, bundle.architecture), f"network {bundle.path}")
