"""`nas search`: the second long stage alone."""

from __future__ import annotations

import typer

from nas.cli.options import ConfigArgument, SetOption, StorageOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(config: ConfigArgument, set_: SetOption = None, storage: StorageOption = None) -> None:
    """Evaluate networks of a trained supernet until the budget is spent; search.evaluations may be raised later.

    Further processes can help, see 'nas worker'.
    """
    from nas.cli.options import show, with_storage
    from nas.config import load
    from nas.pipeline import open_stages
    from nas.progress import Reporter
    from nas.report.gather import gather
    from nas.report.tables import front_table

    stages = open_stages(load(config, with_storage(set_, storage)), Reporter())
    with stages.exclusive():
        stages.calibrate()
        stages.search()
    show(front_table(gather(stages)))
