"""`nas device`: the devices that networks are measured on."""

from __future__ import annotations

from typing import Annotated

import typer


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
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Further option of the backend, such as graph_optimization=disabled."),
    ] = None,
) -> None:
    """Describe a device: a runtime on this machine with its options."""
    from latency_predictors import Device
    from nas.cli.options import show
    from nas.errors import UsageError

    options: dict[str, object] = {"threads": threads}
    for text in option or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--option takes KEY=VALUE, not {text!r}")
        options[key] = value
    show(f"device {name}: {Device(name, backend, options).save()}")


def list_devices() -> None:
    """List all devices."""
    from rich.table import Table

    from latency_predictors import Device
    from nas.cli.options import show

    table = Table("device", "backend", "options")
    for device in map(Device.load, Device.names()):
        table.add_row(device.name, device.backend, ", ".join(f"{k}={v}" for k, v in device.options.items()))
    show(table)


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
        raise CheckFailed(
            f"device {name!r} does not repeat itself: close other programs, fix the processor's frequency "
            "(cpupower frequency-set -g performance), or pin the process to a core (taskset)"
        )
    show(f"device {name!r} is fit to be calibrated")
