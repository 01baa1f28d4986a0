"""Devices by name: a backend with its options, and the machine it is on, in a small YAML file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from latency_predictors.devices import backend as backends
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.ssh import Address, check_path
from latency_predictors.devices.transports import LocalTransport, SshTransport, Transport, check_python
from latency_predictors.files import NotWritten, write_text
from search_spaces.space import nearest

#: The device that exists without a file: this machine, ONNX Runtime, one thread.
LOCAL = "local"


def home() -> Path:
    """Where the user's devices and measurements are: `$NASMYTH_HOME`, by default `~/.nasmyth`."""
    chosen = os.environ.get("NASMYTH_HOME")
    return Path(chosen) if chosen else Path.home() / ".nasmyth"


def devices_folder() -> Path:
    """`$NASMYTH_HOME/devices`, by default `~/.nasmyth/devices`."""
    return home() / "devices"


@dataclass(frozen=True)
class Device:
    """Where latency is measured.

    Attributes:
        name: letters, digits, `_` and `-`; the name of its file and its columns in reports.
        backend: name of the runtime.
        options: of the backend, JSON values.
        ssh: `user@host` or `user@host:port` of a machine that is reached by ssh; `None` is this machine.
        identity: file of the private key for ssh.
        known_hosts: file of the host keys for ssh.
        python: the far side's Python.
        energy_command: a program on the device's machine, and its arguments, that prints the joules of a power meter
            so far each time it is run; without one the processor's own counters (RAPL) are read.

    Raises:
        ValueError: when the name has other characters, backend or options are unknown or impossible, or the machine
            cannot be reached in this way.
    """

    name: str
    backend: str = "onnxruntime"
    options: Mapping[str, Any] = field(default_factory=dict)
    ssh: str | None = None
    identity: str | None = None
    known_hosts: str | None = None
    python: str = "python3"
    energy_command: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "options", dict(self.options))
        object.__setattr__(self, "energy_command", _checked_command(self.energy_command))
        self.make_backend()
        self._check_far_side()

    def _check_far_side(self) -> None:
        check_python(self.python)
        for name in ("identity", "known_hosts"):
            if getattr(self, name) is not None:
                check_path(name, getattr(self, name))
        if self.ssh is None:
            return
        Address.parse(self.ssh)
        if self.backend != "onnxruntime":
            raise ValueError(f"over ssh only onnxruntime can be measured, not {self.backend}: leave out --backend")

    def make_backend(self) -> Backend:
        """The runtime with the device's options, in this process: it knows nothing of the machine at the far side."""
        return backends.make(self.backend, self.options)

    def transport(self) -> Transport:
        """The way to the device's runner."""
        if self.ssh is None:
            return LocalTransport(self.backend)
        return SshTransport(Address.parse(self.ssh), self.identity, self.known_hosts, self.python)

    def document(self) -> dict[str, Any]:
        """The device as JSON values; what is as by default in the optional fields is left out."""
        known = {"name": self.name, "backend": self.backend, "options": dict(self.options)}
        if self.energy_command:
            known["energy_command"] = list(self.energy_command)
        return known | {key: getattr(self, key) for key, default in _FAR_SIDE.items() if getattr(self, key) != default}

    def save(self) -> Path:
        """Write the device's file, replacing an older one, and return its path.

        Raises:
            OSError: when the file cannot be written; an older one is kept.
            ValueError: for the name `local`, which is built in.
        """
        if self.name == LOCAL:
            raise ValueError(f"device {LOCAL!r} is built in and has no file: give the device another name")
        path = devices_folder() / f"{self.name}.yaml"
        content = {key: value for key, value in self.document().items() if key != "name"}
        try:
            write_text(path, yaml.safe_dump(content, sort_keys=False))
        except NotWritten as error:
            raise OSError(f"{error}; NASMYTH_HOME names the folder of devices") from error
        return path

    @classmethod
    def load(cls, name: str) -> Device:
        """The device `name` from its file.

        Raises:
            ValueError: when there is no such device or its file is wrong; the message names the nearest known word.
        """
        _check_name(name)
        if name == LOCAL:
            return cls(LOCAL)
        path = devices_folder() / f"{name}.yaml"
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = cls.names()
            raise ValueError(
                f"there is no device {name!r}{nearest(name, known)}; there are {', '.join(known)}; "
                f"`nas device add {name}` makes one"
            ) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"the device file {path} cannot be read: {error}") from error
        return cls._from_file(name, data, path)

    @classmethod
    def _from_file(cls, name: str, data: Any, path: Path) -> Device:
        if not isinstance(data, dict):
            raise ValueError(f"the device file {path} must hold the keys backend and options")
        for key in data:
            if key not in _KEYS:
                raise ValueError(
                    f"the device file {path} has an unknown key {key!r}{nearest(str(key), _KEYS)}; "
                    f"the keys are {', '.join(_KEYS)}"
                )
        options = data.get("options", {})
        if not isinstance(options, dict) or "backend" not in data:
            raise ValueError(f"the device file {path} must name a backend, and its options as keys with values")
        far_side = {key: data[key] for key in _FAR_SIDE if key in data}
        if not all(isinstance(value, str) for value in far_side.values()):
            raise ValueError(f"the device file {path} must give {', '.join(far_side)} as text")
        try:
            return cls(name, str(data["backend"]), options, **far_side, energy_command=data.get("energy_command", ()))
        except ValueError as error:
            raise ValueError(f"the device file {path} is wrong: {error}") from error

    @staticmethod
    def names() -> list[str]:
        """All devices: `local` and those that have a file."""
        return sorted({LOCAL, *(path.stem for path in devices_folder().glob("*.yaml"))})


#: What a device's file may leave out, with the values it then has.
_FAR_SIDE = {
    item.name: item.default for item in fields(Device) if item.name in ("ssh", "identity", "known_hosts", "python")
}
_KEYS = ("backend", "options", *_FAR_SIDE, "energy_command")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"a device's name is made of letters, digits, '_' and '-', not {name!r}")


def _checked_command(command: Any) -> tuple[str, ...]:
    texts = isinstance(command, list | tuple) and all(isinstance(word, str) and "\0" not in word for word in command)
    if not texts or (command and not command[0]):
        raise ValueError(f"energy_command is a list: a program and its arguments, all texts, not {command!r}")
    return tuple(command)
