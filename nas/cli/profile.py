"""`nas profile`: whether the limits can be met, before any training."""

from __future__ import annotations

import typer

from nas.cli.options import ConfigArgument, JsonOption, SetOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profile")(profile)


def profile(config: ConfigArgument, set_: SetOption = None, json: JsonOption = False) -> None:
    """Show the range of every objective over the space, and whether the limits can be met.

    Nothing is trained. Devices that are not calibrated yet are measured first (some seconds); the run uses that.
    Exit code 1 when no network keeps the limits.
    """
    from rich.table import Table

    from nas.cli.options import print_json, show
    from nas.config import load
    from nas.errors import CheckFailed
    from nas.pipeline import open_stages, profile_space
    from nas.progress import Reporter

    stages = open_stages(load(config, set_ or []), Reporter())
    with stages.exclusive():
        stages.calibrate()
    ranges = profile_space(stages)
    table = Table("metric", "smallest", "minimum", "median", "maximum", "largest", title="Range over the space")
    for name, figures in ranges.items():
        table.add_row(name, *(f"{figures[key]:.4g}" for key in ("smallest", "min", "median", "max", "largest")))
    show(table)
    limits = [str(limit) for limit in stages.limits]
    try:
        stages.check_limits()
    except CheckFailed:
        if json:
            print_json({"metrics": ranges, "limits": limits, "feasible": False})
        raise
    show(f"The limits can be met: {', '.join(limits)}" if limits else "There are no limits.")
    if json:
        print_json({"metrics": ranges, "limits": limits, "feasible": True})
