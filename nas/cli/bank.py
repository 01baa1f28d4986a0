"""`nas bank`: all measurements that were made, or those of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption

if TYPE_CHECKING:
    from latency_predictors import Bank
    from latency_predictors.measurements import MeasuredDevice

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
    from rich.table import Column, Table
    from rich.text import Text

    from nas.cli.options import print_json, show

    bank = _bank(run)
    devices = bank.devices()
    table = Table(Column("device", no_wrap=True), "runtime", "options", "measured")
    for device in devices:
        runtime = f"{device.stable['backend']} {device.stable['runtime_version'] or ''}"
        options = ", ".join(f"{key}={value}" for key, value in device.stable["options"].items())
        table.add_row(*map(Text, (device.id, runtime, options, measured(device))))
    show(table if devices else f"the bank {bank.path} is empty; 'nas calibrate' and 'nas run' fill it")
    if json:
        print_json({"bank": str(bank.path), "devices": [device.document() for device in devices]})


def measured(device: MeasuredDevice) -> str:
    """What is known of a device, for people."""
    failed = f", {device.failures} failed" if device.failures else ""
    return f"{device.networks} networks of {', '.join(device.spaces)}{failed}, last {device.last_text} UTC"


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
    show(f"measurements exported: {len(records)}, to {file}")


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
    show(f"measurements added: {added}, there already: {len(records) - added}, in {bank.path}")


def _bank(run: Path | None) -> Bank:
    """The bank of a run, or the user's.

    Raises:
        UsageError: when there is no such run.
    """
    from latency_predictors import Bank
    from nas.runs import Run

    return Bank(Run.existing(run)[0].bank_file) if run else Bank.user()
