"""A device whose runner is a program of the tests."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from latency_predictors import Device
from latency_predictors.devices.transports import Connection, ProcessConnection, Transport


@dataclass(frozen=True)
class ProgramDevice(Device):
    """It starts a Python program with arguments, of which the last is the folder of the models."""

    program: tuple[str, ...] = ()

    def transport(self) -> Transport:
        return ProgramTransport(self.program)


class ProgramTransport(Transport):
    where = "this machine"

    def __init__(self, program: tuple[str, ...]) -> None:
        self.program = program

    def connect(self) -> Connection:
        return ProcessConnection([sys.executable, *self.program])


def metered(powercap: Path, store: Path, energy_command: tuple[str, ...] = ()) -> ProgramDevice:
    """A device with the energy counters in `powercap`, or with a meter."""
    runner = Path(__file__).with_name("metered_runner.py")
    return ProgramDevice(
        "metered", energy_command=energy_command, program=(str(runner), str(powercap), str(store / "models"))
    )


def misbehaving(store: Path) -> ProgramDevice:
    """A device that does what the name of a model's graph says, see `misbehaving_runner`."""
    return ProgramDevice(
        "strange", program=(str(Path(__file__).with_name("misbehaving_runner.py")), str(store / "models"))
    )
