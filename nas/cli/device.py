"""`nas device`: the devices that networks are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import JsonOption

if TYPE_CHECKING:
    from latency_predictors.measurements import MeasuredDevice


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Add, list and check the devices that networks are measured on.")
    group.command("add")(add)
    group.command("list")(list_devices)
    group.command("check")(check)
    app.add_typer(group, name="device")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, '_' and '-'.")],
    backend: Annotated[str, typer.Option(help="The runtime.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(help="Threads of one run.")] = 1,
    ssh: Annotated[
        str | None,
        typer.Option(metavar="USER@HOST[:PORT]", help="Another machine, with Python, numpy and onnxruntime."),
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key for --ssh, in place of ssh's own choice.")
    ] = None,
    known_hosts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Host keys for --ssh, in place of ssh's own file.")
    ] = None,
    python: Annotated[str, typer.Option(metavar="PATH", help="Python of the other machine.")] = "python3",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Further option of the backend, such as graph_optimization=disabled."),
    ] = None,
    energy_command: Annotated[
        str | None,
        typer.Option(
            metavar="PROGRAM",
            help="Prints the joules of a power meter so far, on the device's machine; no shell runs it.",
        ),
    ] = None,
) -> None:
    """Describe a device: a runtime with its options, on this machine or on one that ssh reaches."""
    import shlex

    from latency_predictors import Device
    from nas.cli.options import show

    options = {"threads": threads} | dict(map(_key_and_value, option or []))
    meter = shlex.split(energy_command or "")
    device = Device(name, backend, options, ssh, _absolute(identity), _absolute(known_hosts), python, meter)
    show(f"device {name}: {device.save()}")


def _key_and_value(text: str) -> tuple[str, object]:
    """Numbers and true or false are taken as such, anything else as text."""
    import yaml

    from nas.errors import UsageError

    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--option takes KEY=VALUE, not {text!r}")
    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value
    return key, found if isinstance(found, bool | int | float) else value


def _absolute(path: Path | None) -> str | None:
    """The same file from every folder."""
    return None if path is None else str(path.expanduser().absolute())


def list_devices(json: JsonOption = False) -> None:
    """List all devices, and what was measured on them."""
    from rich.table import Table
    from rich.text import Text

    from latency_predictors import Bank, Device
    from nas.cli.options import print_json, show

    known = Bank.user().devices()
    table, documents = Table("device", "backend", "options", "measured"), []
    for device in map(Device.load, Device.names()):
        found = [one for one in known if one.name == device.name]
        options = ", ".join(f"{key}={value}" for key, value in device.options.items())
        table.add_row(*map(Text, (device.name, device.backend, options, _measured(found))))
        bank = {"conflict": len(found) > 1, "devices": [one.document() for one in found]}
        documents.append({**device.document(), "bank": bank})
    show(table)
    unknown = sorted({one.name for one in known} - set(Device.names()))
    if unknown:
        show(f"'nas bank list' shows measurements of further devices: {', '.join(unknown)}")
    if json:
        print_json({"devices": documents})


def _measured(devices: list[MeasuredDevice]) -> str:
    """What the bank knows of one name, for people."""
    from latency_predictors.measurements import differences
    from nas.cli.bank import measured

    lines = [measured(one) for one in devices]
    if len(devices) > 1:
        lines.append(f"CONFLICT: {', '.join(one.id for one in devices)} differ in {', '.join(differences(devices))}")
    return "\n".join(lines)


def check(name: Annotated[str, typer.Argument(metavar="NAME", help="One of 'nas device list'.")] = "local") -> None:
    """Measure the same networks twice and say whether the device repeats itself well enough to be calibrated.

    Exit code 1 when it does not.
    """
    import search_spaces
    from latency_predictors import Device
    from latency_predictors.devices.repeatability import repeatability
    from nas.cli.options import show
    from nas.errors import CheckFailed
    from nas.progress import Reporter

    with Reporter().progress(f"check {name}") as advance:
        found = repeatability(Device.load(name), search_spaces.get("convnet"), progress=advance)
    show(f"rank correlation of two passes {found.spearman:.3f}, median difference {found.error:.1%}")
    if not found.fit:
        raise CheckFailed(f"device {name!r} does not repeat itself: {'; '.join(found.advice())}")
    show(f"device {name!r} is fit to be calibrated")
