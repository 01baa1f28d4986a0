"""Arguments and options that several commands share, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, a run, or the name of a packaged configuration such as 'quickstart'."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run, such as runs/quickstart.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as search.evaluations=50; may be repeated."),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Keep the study in a database, such as postgresql://USER@HOST/DATABASE, so that workers on other hosts can "
        "help; the same as search.storage. A password is taken from PGPASSWORD or ~/.pgpass.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object last on standard output.")]


def with_storage(overrides: list[str] | None, storage: str | None) -> list[str]:
    """Overrides of a configuration, with the one that `--storage` stands for."""
    return [*(overrides or []), *([] if storage is None else [f"search.storage={json.dumps(storage)}"])]


def print_json(data: Any) -> None:
    """One JSON object on one line of standard output."""
    print(json.dumps(data))


def show(*renderables: Any) -> None:
    """Tables and text on standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    for renderable in renderables:
        if isinstance(renderable, str):  # a path must not be broken into lines, nor read as markup
            console.print(renderable, soft_wrap=True, markup=False)
        else:
            console.print(renderable)
