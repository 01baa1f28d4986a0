"""`nas spaces`: what can be searched."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("spaces")(spaces)


def spaces(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A space, or package.module:function for your own.")
    ] = None,
) -> None:
    """List the search spaces, or one space's options, choices, size, the costs of its published, smallest and largest networks, and whose weights it takes."""
    import inspect

    from rich.table import Table

    import search_spaces
    from nas.cli.options import show

    if name is None:
        table = Table("space", "architectures", "choices", "what it is", title="Search spaces")
        for known in search_spaces.names():
            space = search_spaces.get(known)
            summary = (inspect.getdoc(search_spaces.builder(known)) or "").splitlines()[0]
            table.add_row(known, f"{space.size:.3g}", str(len(space.choices)), summary)
        show(table)
        return
    space = search_spaces.get(name)
    options = Table("option", "default", title=f"Options of {name}: space.options in a configuration")
    for option, value in space.options.items():
        options.add_row(option, str(value))
    choices = Table("choice", "options", "has an effect when", title="Choices")
    for choice in space.choices:
        needed = f"{choice.requires[0]} in {list(choice.requires[1])}" if choice.requires else ""
        choices.add_row(choice.name, ", ".join(map(str, choice.options)), needed)
    ends = Table("network", "MACs (M)", "parameters (M)", "memory (MB)", title=f"{space.size:.4g} architectures")
    networks = {
        "smallest": space.smallest(),
        **{n: space.architecture(n) for n in space.named},
        "largest": space.largest(),
    }
    for label, architecture in networks.items():
        codes = space.codes([architecture])
        for phase in space.phases:
            figures = [of(codes, phase) for of in (space.macs, space.parameters, space.memory_bytes)]
            title = f"{label}, {phase}" if len(space.phases) > 1 else label
            ends.add_row(title, *(f"{float(figure[0]) / 1e6:.4g}" for figure in figures))
    sources = ", ".join(space.pretrained) or "none"
    known = f"Sources of weights, for training.pretrained.source in a configuration: {sources}"
    show(inspect.getdoc(search_spaces.builder(name)) or "", options, choices, ends, known)
