"""`nas bank`: all measurements that were made, or those of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption

if TYPE_CHECKING:
    from latency_predictors import Bank

RunOption = Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The bank of a run, not the user's own.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="List, export and import the measurements of all devices.")
    group.command("list")(list_bank)
    group.command("export")(export)
    group.command("import")(import_)
    app.add_typer(group, name="bank")


def list_bank(run: RunOption = None, json: JsonOption = False) -> None:
    """List what was measured. Two machines under one name are two devices, told apart by NAME@DIGEST."""
    from rich.table import Table
    from rich.text import Text

    from nas.cli.options import print_json, show

    bank = _bank(run)
    devices = bank.devices()
    table = Table("device", "runtime", "options", "networks", "failed", "spaces", "last measured (UTC)")
    for device in devices:
        cells = (
            device.id,
            f"{device.stable['backend']} {device.stable['runtime_version'] or ''}",
            ", ".join(f"{key}={value}" for key, value in device.stable["options"].items()),
            str(device.networks),
            str(device.failures),
            ", ".join(device.spaces),
            device.last_text,
        )
        table.add_row(*map(Text, cells))
    show(table if devices else f"the bank {bank.path} is empty; 'nas calibrate' and 'nas run' fill it")
    if json:
        print_json({"bank": str(bank.path), "devices": [device.document() for device in devices]})


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")], run: RunOption = None
) -> None:
    """Write all measurements as a Parquet file of plain columns, for pandas, DuckDB and others."""
    from latency_predictors.parquet import write_parquet
    from nas.cli.options import show
    from nas.errors import UsageError

    bank = _bank(run)
    records = bank.records()
    if not records:
        raise UsageError(f"the bank {bank.path} is empty: there is nothing to export")
    write_parquet(file, records)
    show(f"{len(records)} measurements: {file}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="What 'nas bank export' wrote.")],
    run: RunOption = None,
) -> None:
    """Add the measurements of a Parquet file, all or none; those that are there already are not added again."""
    from latency_predictors.parquet import read_parquet
    from nas.cli.options import show

    bank = _bank(run)
    records = read_parquet(file)
    added = bank.append(records)
    show(f"{added} measurements added to {bank.path}, {len(records) - added} were there already")


def _bank(run: Path | None) -> Bank:
    """The bank of a run, or the user's.

    Raises:
        UsageError: when there is no such run.
    """
    from latency_predictors import Bank
    from nas.runs import Run

    return Bank(Run.existing(run)[0].bank_file) if run else Bank.user()
