"""`nas spaces`: what can be searched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("spaces")(spaces)


def spaces(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A space, or package.module:function for your own.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="DIR",
            help="With hybrid-slm: a language model of transformers (config.json and safetensors). Print the part of a "
            "configuration whose space is around it and whose training begins with its weights.",
        ),
    ] = None,
    mixer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="With --checkpoint: a mixer that layers may have in place of attention, such as gated_linear_attention; "
            "it begins with the weights of attention and learns from it first. May be repeated.",
        ),
    ] = None,
    depth: Annotated[
        list[int] | None,
        typer.Option(
            metavar="LAYERS",
            help="With --checkpoint: a number of layers that networks may have; those are kept with which the model "
            "predicts the texts of --texts best (dynamic programming). May be repeated.",
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="With --depth: a configuration whose task names texts and the tokenizer."),
    ] = None,
    sequences: Annotated[int, typer.Option(min=1, help="With --depth: how many are looked at.")] = 64,
) -> None:
    """List the search spaces, or one space's options, choices, size, the costs of its published, smallest and largest networks, and whose weights it takes."""
    if checkpoint is not None:
        _show_checkpoint(name, checkpoint, mixer or [], depth or [], texts, sequences)
        return
    _check_alone(mixer, depth, texts)

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


def _check_alone(mixer: list[str] | None, depth: list[int] | None, texts: str | None) -> None:
    """Refuse options that are for `--checkpoint`."""
    from nas.errors import UsageError

    if mixer or depth or texts:
        raise UsageError("--mixer, --depth and --texts go with --checkpoint DIR")


def _show_checkpoint(
    name: str | None, directory: Path, mixers: list[str], depths: list[int], texts: str | None, sequences: int
) -> None:
    """Print the sections of a configuration for a language model that exists."""
    import yaml

    from nas.checkpoint_sections import NAME, checkpoint_sections, layers_to_keep
    from nas.cli.options import show
    from nas.config import load
    from nas.errors import UsageError

    if name != NAME:
        raise UsageError("models of transformers are networks of hybrid-slm: nas spaces hybrid-slm --checkpoint DIR")
    if bool(depths) != bool(texts):
        raise UsageError("--depth needs the texts on which layers are ranked, --texts CONFIG, and the other way round")
    kept = layers_to_keep(directory, depths, load(texts), sequences) if texts else None
    sections = checkpoint_sections(directory, mixers, kept)
    show(yaml.safe_dump(sections, sort_keys=False, default_flow_style=None, width=100).rstrip())
