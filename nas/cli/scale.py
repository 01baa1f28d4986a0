"""`nas scale`: a chosen network at another budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import JsonOption, SetOption

if TYPE_CHECKING:
    from nas.scaling import Scaled


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scale")(scale)


def scale(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="Whose space is meant: a configuration, or the directory of a run.")
    ],
    architecture: Annotated[
        str,
        typer.Option(
            "--architecture",
            metavar="FILE",
            help="The network: architecture.json of a bundle, or the name of a published one of the space.",
        ),
    ],
    macs: Annotated[float, typer.Option("--macs", metavar="FACTOR", help="By what its MACs are multiplied.")],
    alpha: Annotated[
        float, typer.Option("--alpha", help="Share of the width in the growth: 1 is width alone, 1/3 uniform scaling.")
    ] = 0.8,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write space.yaml and architecture.json of the scaled network there."),
    ] = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Scale a network to another budget, mostly by its width, which keeps its activations and so its latency low.

    The result is compared with uniform scaling and with width alone. Exit code 1 when no network comes near the budget.
    """
    from nas.cli.options import print_json, show
    from nas.scaling import compare, load_architecture, load_space, space_section, space_text, write

    space = load_space(config, set_ or [])
    found = compare(space, load_architecture(architecture, space), macs, alpha)
    _, chosen, *_ = found.values()
    show(_table(found), space_text(chosen), chosen.architecture.to_json())
    if to is not None:
        write(chosen, to)
        show(f"space and architecture in {to}")
    if json:
        networks = {name: _document(network) for name, network in found.items()}
        values = chosen.architecture.values
        print_json({"networks": networks, **space_section(chosen), "architecture": values})


def _document(network: Scaled) -> dict[str, Any]:
    factors = {name: getattr(network.scale, name) for name in ("width", "depth", "resolution")}
    return {**factors, **{name: getattr(network, name) for name in ("macs", "parameters", "activations")}}


def _table(found: dict[str, Scaled]) -> Any:
    from rich.table import Table

    before = next(iter(found.values()))
    table = Table("network", "width, depth, pixels", "MACs (M)", "parameters (M)", "activations (M)")
    for name, network in found.items():
        factors = [network.scale.width, network.scale.depth, network.scale.resolution]
        pairs = [
            (network.macs, before.macs),
            (network.parameters, before.parameters),
            (network.activations, before.activations),
        ]
        costs = [f"{new / 1e6:.4g} (x{new / old:.2f})" for new, old in pairs]
        table.add_row(name, " ".join(f"x{factor:.2f}" for factor in factors), *costs)
    return table
