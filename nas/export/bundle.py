"""The bundle: a directory that holds one exported network and all that is known of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

import search_spaces
from nas.errors import CheckFailed, UsageError
from nas.files import read_json, read_tensors, write_bytes, write_json
from search_spaces import Architecture, SearchSpace

FORMAT_VERSION = 1
_KEYS = frozenset(
    [
        "architecture",
        "classes",
        "data_fingerprint",
        "devices",
        "files",
        "input",
        "limits",
        "metrics",
        "seed",
        "space",
        "task",
        "weights_mb",
    ]
)
MODEL, ARCHITECTURE, WEIGHTS, MANIFEST, README = (
    "model.onnx",
    "architecture.json",
    "weights.safetensors",
    "manifest.json",
    "README.md",
)

_USAGE = """# {title}

An image classifier found by Nasmyth, for images of {height} x {width} pixels and {channels} channel(s).
{history}

```python
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(None, {{"{name}": ((images / 255 - {mean}) / {std}).astype(np.float32)}})[0]
```

`images` has the shape (n, {channels}, {height}, {width}) and values from 0 to 255; the classes are
{classes}.

`manifest.json` tells where the network comes from, what was predicted of it and the hashes of all files;
`nas verify .` checks the network on this machine.
"""


@dataclass(frozen=True)
class Bundle:
    """An exported network on disk.

    Attributes:
        path: the directory.
    """

    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What is known of the network.

        Raises:
            UsageError: when there is no bundle here, one of another version, or a manifest without a needed key.
        """
        if not (self.path / MANIFEST).exists():
            raise UsageError(f"{self.path} is not a bundle: it has no {MANIFEST}; 'nas export' makes one")
        manifest: dict[str, Any] = read_json(self.path / MANIFEST)
        version = manifest.get("version") if isinstance(manifest, dict) else None
        if version != FORMAT_VERSION:
            raise UsageError(f"{self.path} is a bundle of version {version!r}, this release reads {FORMAT_VERSION}")
        missing = sorted(_KEYS - manifest.keys())
        if missing:
            raise UsageError(f"{self.path / MANIFEST} has no key {missing[0]!r}; export the network again")
        return manifest

    def check_files(self) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            CheckFailed: when one is missing or was changed.
        """
        hashes = self.manifest["files"]
        for name in (MODEL, ARCHITECTURE, WEIGHTS, README):  # what else a manifest may name is not followed
            file = self.path / name
            if not file.is_file():
                raise CheckFailed(f"{file} is missing; export the network again")
            if hashlib.sha256(file.read_bytes()).hexdigest() != hashes.get(name):
                raise CheckFailed(f"{file} was changed after the export (its hash differs); export the network again")

    @property
    def model(self) -> bytes:
        """The ONNX model."""
        return (self.path / MODEL).read_bytes()

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the architecture."""
        space = self.manifest["space"]
        return search_spaces.get(space["name"], **space["options"])

    @cached_property
    def architecture(self) -> Architecture:
        """What was exported."""
        return Architecture.from_json((self.path / ARCHITECTURE).read_text())

    def network(self) -> nn.Module:
        """The torch network with its weights, in evaluation mode.

        Raises:
            CheckFailed: when the weights belong to another architecture.
        """
        network = self.space.build(self.architecture)
        try:
            network.load_state_dict(read_tensors(self.path / WEIGHTS))
        except RuntimeError as error:
            raise CheckFailed(f"{self.path / WEIGHTS} does not fit {ARCHITECTURE}; export the network again") from error
        return network.eval()


def write_bundle(
    path: Path, model: bytes, network: nn.Module, architecture: Architecture, manifest: Mapping[str, Any]
) -> Bundle:
    """Write a bundle to a temporary directory and move it to `path`, in place of an older one.

    Args:
        manifest: what is known, without version and hashes; with `input` (name, shape, mean, std) and `classes`.

    Raises:
        UsageError: when `path` holds something else than a bundle.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shape = manifest["input"]["shape"]
    readme = _USAGE.format(
        title=path.name,
        history=_history(manifest.get("finetuned")),
        name=manifest["input"]["name"],
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        mean=_array(manifest["input"]["mean"]),
        std=_array(manifest["input"]["std"]),
        classes=", ".join(manifest["classes"]),
    )
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    contents = {
        MODEL: model,
        ARCHITECTURE: (architecture.to_json() + "\n").encode(),
        WEIGHTS: save(weights),
        README: readme.encode(),
    }
    for name, content in contents.items():
        write_bytes(temporary / name, content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_json(temporary / MANIFEST, {"version": FORMAT_VERSION, **manifest, "files": hashes})
    _replace_directory(temporary, path)
    return Bundle(path)


def check_target(path: Path) -> None:
    """Make sure that a bundle may be written to `path`.

    Raises:
        UsageError: when it holds something else than a bundle.
    """
    free = not path.exists() or (path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir())))
    if not free:
        raise UsageError(f"{path} exists and is not a bundle; choose another directory")


def _history(finetuned: Mapping[str, Any] | None) -> str:
    """Where the weights come from."""
    if finetuned and finetuned["used"]:
        return f"It has the weights of a supernet, fine-tuned alone for {finetuned['epochs']:g} epoch(s)."
    return "It has the weights of a supernet, not trained further."


def _array(values: list[float]) -> str:
    rounded = json.dumps([round(value, 6) for value in values])
    return f"np.array({rounded}).reshape(-1, 1, 1)"


def _replace_directory(temporary: Path, path: Path) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(path)
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)  # of a process that was killed and had the same number
    path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old)
