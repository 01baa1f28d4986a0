"""The bundle: a directory that holds one exported network and all that is known of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors.torch import save
from torch import nn

import search_spaces
from latency_predictors.files import writing
from nas.errors import CheckFailed, UsageError
from nas.export.manifest import FORMAT_VERSION, IMAGES, LANGUAGE, read_manifest
from nas.files import read_tensors, write_bytes, write_json
from search_spaces import Architecture, SearchSpace

MODEL, ARCHITECTURE, WEIGHTS, MANIFEST, README = (
    "model.onnx",
    "architecture.json",
    "weights.safetensors",
    "manifest.json",
    "README.md",
)
PREFILL_MODEL, DECODE_MODEL, GRAPH_WEIGHTS = "prefill.onnx", "decode.onnx", "weights.data"
TOKENIZER, GENERATE = "tokenizer.json", "generate.py"


@dataclass(frozen=True)
class Layout:
    """What a bundle of one kind has beside that of all kinds.

    Attributes:
        models: files of which the exported network consists.
        others: further files.
    """

    models: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files but the manifest."""
        return (*self.models, *self.others, ARCHITECTURE, WEIGHTS, README)


#: By the kind that a manifest names; one that names none is of images.
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        IMAGES: Layout((MODEL,), ()),
        LANGUAGE: Layout((PREFILL_MODEL, DECODE_MODEL, GRAPH_WEIGHTS), (TOKENIZER, GENERATE)),
    }
)


@dataclass(frozen=True)
class Bundle:
    """An exported network on disk, made by anybody.

    Attributes:
        path: the directory.
        own_space: the one function outside of this package, `package.module:function`, that may be called when the
            manifest says that it makes the search space.
    """

    path: Path
    own_space: str | None = None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What is known of the network.

        Raises:
            UsageError: when there is no bundle here, or one of another version; or a key is missing or wrong.
        """
        if not (self.path / MANIFEST).exists():
            raise UsageError(f"{self.path} is not a bundle: it has no {MANIFEST}; 'nas export' makes one")
        return read_manifest(self.path / MANIFEST)

    def wrong(self, key: str, reason: object) -> UsageError:
        """The error that a key of the manifest does not go with the rest of the bundle."""
        return UsageError(f"{self.path / MANIFEST} has a wrong {key!r}: {reason}; export the network again")

    def metric(self, name: str) -> float:
        """What the study found of a metric.

        Raises:
            UsageError: when the manifest does not say.
        """
        metrics: Mapping[str, float] = self.manifest["metrics"]
        if name not in metrics:
            raise UsageError(f"{self.path / MANIFEST} has no key 'metrics.{name}'; export the network again")
        return metrics[name]

    @property
    def kind(self) -> str:
        """What the network does, one of `LAYOUTS`."""
        return str(self.manifest.get("kind", IMAGES))

    @property
    def layout(self) -> Layout:
        """What there is because of that."""
        return LAYOUTS[self.kind]

    @property
    def size_mb(self) -> float:
        """Of the exported network on disk."""
        return sum((self.path / name).stat().st_size for name in self.layout.models) / 1e6

    def predicted(self, device: str, phase: str) -> Mapping[str, Any] | None:
        """What was predicted of a phase on a device; `None` where it was not calibrated."""
        known: Mapping[str, Any] | None = self.manifest["devices"].get(device)
        return known["phases"].get(phase) if known and "phases" in known else known

    def check_files(self) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            CheckFailed: when one is missing or was changed.
        """
        hashes = self.manifest["files"]
        for name in self.layout.files:  # what else a manifest may name is not followed
            file = self.path / name
            if not file.is_file():
                raise CheckFailed(f"{file} is missing; export the network again")
            if hashlib.sha256(file.read_bytes()).hexdigest() != hashes.get(name):
                raise CheckFailed(f"{file} was changed after the export (its hash differs); export the network again")

    @property
    def model(self) -> bytes:
        """The ONNX model of a network for images."""
        return (self.path / MODEL).read_bytes()

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the architecture.

        Raises:
            UsageError: when it cannot be made, or a function outside of this package makes it that is not `own_space`.
        """
        space = self.manifest["space"]
        if space["name"] not in (*search_spaces.names(), self.own_space):
            raise UsageError(
                f"{self.path / MANIFEST} names {space['name']!r} as the search space, which is not part of Nasmyth; "
                "when it is yours, say so: 'nas verify --space' takes its name"
            )
        try:
            return search_spaces.get(space["name"], **space["options"])
        except Exception as error:  # options may be anything
            raise self.wrong("space", error) from error

    @cached_property
    def architecture(self) -> Architecture:
        """What was exported.

        Raises:
            UsageError: when it cannot be read, or is another one than the manifest names.
        """
        file = self.path / ARCHITECTURE
        try:
            found = Architecture.from_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}; export the network again") from error
        if found.key != self.manifest["architecture"]:
            raise self.wrong("architecture", f"{file} holds {found.key}")
        return found

    def network(self) -> nn.Module:
        """The torch network with its weights, in evaluation mode.

        Raises:
            CheckFailed: when the weights belong to another architecture.
            UsageError: when the architecture is not one of the space.
        """
        space, architecture = self.space, self.architecture
        try:
            network = space.build(architecture)
        except Exception as error:  # the space may have been made with anything
            raise self.wrong("space", f"{ARCHITECTURE} is no network of it: {error}") from error
        try:
            network.load_state_dict(read_tensors(self.path / WEIGHTS))
        except RuntimeError as error:
            raise CheckFailed(f"{self.path / WEIGHTS} does not fit {ARCHITECTURE}; export the network again") from error
        return network.eval()


def write_files(
    path: Path,
    files: Mapping[str, bytes],
    network: nn.Module,
    architecture: Architecture,
    readme: str,
    manifest: Mapping[str, Any],
) -> Bundle:
    """Write a bundle to a temporary directory and move it to `path`, in place of an older one.

    Args:
        path: of its directory.
        files: contents of those that `Layout` names.
        network: whose weights are kept.
        architecture: of the network.
        readme: for people.
        manifest: what is known, without version and hashes.

    Raises:
        NotWritten: when that is not possible; an older bundle is kept.
        UsageError: when `path` holds something else than a bundle.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    contents = {
        **files,
        ARCHITECTURE: (architecture.to_json() + "\n").encode(),
        WEIGHTS: save(weights),
        README: readme.encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    try:
        with writing(path):
            for name, content in contents.items():
                write_bytes(temporary / name, content)
            write_json(temporary / MANIFEST, {"version": FORMAT_VERSION, **manifest, "files": hashes})
            _replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # there still when something went wrong
    return Bundle(path, manifest["space"]["name"])


def verification(manifest: Mapping[str, Any]) -> str:
    """The command that verifies a bundle, in its directory."""
    name = manifest["space"]["name"]
    return "nas verify ." if name in search_spaces.names() else f"nas verify . --space {name}"


def check_target(path: Path) -> None:
    """Make sure that a bundle may be written to `path`.

    Raises:
        UsageError: when it holds something else than a bundle.
    """
    free = not path.exists() or (path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir())))
    if not free:
        raise UsageError(f"{path} exists and is not a bundle; choose another directory")


def history(finetuned: Mapping[str, Any] | None) -> str:
    """Where the weights come from, for people."""
    if finetuned and finetuned["used"]:
        return f"It has the weights of a supernet, fine-tuned alone for {finetuned['epochs']:g} epoch(s)."
    return "It has the weights of a supernet, not trained further."


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
