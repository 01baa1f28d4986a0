"""`nas train`: the first long stage alone."""

from __future__ import annotations

import typer

from nas.cli.options import ConfigArgument, SetOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(config: ConfigArgument, set_: SetOption = None) -> None:
    """Train the supernet of a run, or go on with an interrupted training."""
    from nas.config import load
    from nas.pipeline import open_stages
    from nas.progress import Reporter

    stages = open_stages(load(config, set_ or []), Reporter())
    with stages.exclusive():
        stages.train()
