"""`nas profile`: whether the limits can be met, before any training; or what a data sheet says of networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import ConfigArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from latency_predictors.spec_sheet import SpecSheet
    from nas.sheet_profile import PhaseProfile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profile")(profile)


def profile(
    config: ConfigArgument,
    set_: SetOption = None,
    sheet: Annotated[
        list[Path] | None,
        typer.Option(
            "--sheet",
            metavar="FILE",
            help="Measure nothing: show what the networks with a name, and the front of a run, would take on a device of "
            "which this YAML file has the figures (peak_gflops, bandwidth_gbs, and if known launch_us, weight_bits, "
            "activation_bits, memory_gb). May be repeated.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the range of every objective over the space, and whether the limits can be met.

    Nothing is trained. Devices that are not calibrated yet are measured first (some seconds); the run uses that.
    Exit code 1 when no network keeps the limits.
    """
    if sheet:
        _profile_sheets(config, set_ or [], sheet, json)
    else:
        _profile_space(config, set_ or [], json)


def _profile_space(config: str, overrides: list[str], json: bool) -> None:
    """What calibrated predictors and counting say of the whole space."""
    from rich.table import Table

    from nas.cli.options import print_json, show
    from nas.config import load
    from nas.errors import CheckFailed
    from nas.pipeline import open_stages, profile_space
    from nas.progress import Reporter

    stages = open_stages(load(config, overrides), Reporter())
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


def _profile_sheets(config: str, overrides: list[str], files: list[Path], json: bool) -> None:
    """What data sheets say of the networks that have a name."""
    from latency_predictors.spec_sheet import SpecSheet
    from nas.cli.options import print_json, show
    from nas.sheet_profile import load_networks, profiles

    sheets = [SpecSheet.load(file) for file in files]
    space, networks = load_networks(config, overrides)
    found = [(sheet, profiles(sheet, space, networks)) for sheet in sheets]
    show(*(_sheet_table(sheet, rows) for sheet, rows in found))
    show("Rooflines: nothing was measured. Real runtimes fuse operators and do not reach the peak.")
    if json:
        print_json(
            {
                "sheets": [
                    {"device": sheet.document(), "networks": [row.document() for row in rows]} for sheet, rows in found
                ]
            }
        )


def _sheet_table(sheet: SpecSheet, rows: list[PhaseProfile]) -> Any:
    """Narrow enough for a terminal; `--json` has all figures."""
    from rich import box
    from rich.table import Table

    from nas.report.labels import number

    title = f"{sheet.name}: {sheet.peak_gflops:g} GFLOP/s, {sheet.bandwidth_gbs:g} GB/s"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("network (M parameters)", overflow="fold")
    table.add_column("phase", no_wrap=True)
    for head in ("ms", "bound by", "weights", "caches", "peak MB"):
        table.add_column(head, justify="left" if head == "bound by" else "right", no_wrap=True)
    last = None
    for row in rows:
        name = "" if row.network == last else f"{row.network} ({number(row.parameters_m)})"
        peak = f"{number(row.total_mb)}{' (too much)' if row.fits is False else ''}"
        table.add_row(
            name, row.phase, number(row.latency_ms), row.bound, number(row.weights_mb), number(row.caches_mb), peak
        )
        last = row.network
    return table
