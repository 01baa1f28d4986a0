"""Devices by name: a backend with its options, in a small YAML file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from latency_predictors.devices import backend as backends
from latency_predictors.devices.backend import Backend
from latency_predictors.files import write_text
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

    Raises:
        ValueError: when the name has other characters, or backend or options are unknown or impossible.
    """

    name: str
    backend: str = "onnxruntime"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "options", dict(self.options))
        self.make_backend()

    def make_backend(self) -> Backend:
        """The runtime with the device's options."""
        return backends.make(self.backend, self.options)

    def document(self) -> dict[str, Any]:
        """The device as JSON values."""
        return {"name": self.name, "backend": self.backend, "options": dict(self.options)}

    def save(self) -> Path:
        """Write the device's file, replacing an older one, and return its path.

        Raises:
            ValueError: for the name `local`, which is built in.
        """
        if self.name == LOCAL:
            raise ValueError(f"device {LOCAL!r} is built in and has no file: give the device another name")
        path = devices_folder() / f"{self.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump({"backend": self.backend, "options": dict(self.options)}, sort_keys=False))
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
            if key not in ("backend", "options"):
                raise ValueError(
                    f"the device file {path} has an unknown key {key!r}"
                    f"{nearest(str(key), ('backend', 'options'))}; the keys are backend and options"
                )
        options = data.get("options", {})
        if not isinstance(options, dict) or "backend" not in data:
            raise ValueError(f"the device file {path} must name a backend, and its options as keys with values")
        try:
            return cls(name, str(data["backend"]), options)
        except ValueError as error:
            raise ValueError(f"the device file {path} is wrong: {error}") from error

    @staticmethod
    def names() -> list[str]:
        """All devices: `local` and those that have a file."""
        return sorted({LOCAL, *(path.stem for path in devices_folder().glob("*.yaml"))})


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"a device's name is made of letters, digits, '_' and '-', not {name!r}")
