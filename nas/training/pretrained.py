"""A training that begins with weights which already exist."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas.config import PretrainedConfig
from nas.errors import UsageError
from nas.files import read_json, write_json
from search_spaces.pretrained import Loaded
from search_spaces.slm.checkpoints import copy_attention
from search_spaces.supernet import Supernet

_PACKAGE = "package:"


def load_pretrained(supernet: Supernet, config: PretrainedConfig) -> dict[str, Any]:
    """Put the weights that a configuration names into `supernet`, and order its channels by their importance.

    Returns:
        What was loaded, as JSON: source, path, SHA-256 of the file (of a directory: of the digests of its configuration
        and weights), number of tensors, what did not match, and the mixers that begin with weights of attention.

    Raises:
        UsageError: when the file is not there or does not match the supernet. Its weights are then of no use.
    """
    file = find_file(config.path)
    try:
        digest = _digest(file)
        found = supernet.load_pretrained(config.source, file, config.partial or config.copy_attention)
    except (OSError, ValueError) as error:
        raise UsageError(f"training.pretrained: {error}") from error
    if not found.loaded:
        raise UsageError(f"training.pretrained: nothing in {file} matches the supernet")
    supernet.sort_channels()
    copied = _copy_attention(supernet) if config.copy_attention else []
    if not config.partial:
        found = _without(found, copied)
        if not found.is_complete:
            raise UsageError(f"training.pretrained: {file}: does not match the supernet: {found}")
    left = {"missing": found.missing, "unused": found.unused, "mismatched": found.mismatched}
    return {
        "source": config.source,
        "path": config.path,
        "sha256": digest,
        "tensors": len(found.loaded),
        **{kind: list(names) for kind, names in left.items()},
        **({"copied": copied} if copied else {}),
    }


def _copy_attention(supernet: Supernet) -> list[str]:
    try:
        return copy_attention(supernet)
    except ValueError as error:
        raise UsageError(f"training.pretrained.copy_attention: {error}; leave it out") from error


def _without(found: Loaded, modules: list[str]) -> Loaded:
    """What does not match but for modules that need nothing from the file."""
    free = tuple(f"{name}." for name in modules)
    return replace(found, missing=tuple(name for name in found.missing if not name.startswith(free)))


def _digest(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for pattern in ("*.json", "*.safetensors") for file in path.glob(pattern))
        return hashlib.sha256("".join(file.name + _digest(file) for file in files).encode()).hexdigest()
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def find_file(path: str) -> Path:
    """The file or directory of a path, or of `package:NAME/FILE`: a file of an installed package, of which no code is run.

    Raises:
        UsageError: when there is no such package, or the file would be outside of it.
    """
    if not path.startswith(_PACKAGE):
        return Path(path)
    name, _, inside = path.removeprefix(_PACKAGE).partition("/")
    try:
        spec = find_spec(name) if name.isidentifier() else None  # a dotted name would run the code of its parent
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"training.pretrained.path: there is no package {name!r}; install it, or give the path of a file"
        )
    folder = Path(spec.submodule_search_locations[0]).resolve()
    file = (folder / inside).resolve()
    if not file.is_relative_to(folder):
        raise UsageError(f"training.pretrained.path: {inside!r} is not a file inside of the package {name!r}")
    return file


def keep_record(record: dict[str, Any], file: Path, interrupted: bool) -> None:
    """Write what was loaded beside a training, or make sure that an interrupted one began with the same weights.

    Raises:
        UsageError: when it began with others.
    """
    if interrupted and file.exists() and read_json(file)["sha256"] != record["sha256"]:
        raise UsageError(
            f"training.pretrained: {record['path']} is no longer the file that the interrupted training in "
            f"{file.parent} began with; put the old one back, or delete the run to train again"
        )
    write_json(file, record)


def told(record: dict[str, Any]) -> str:
    """What was loaded, for people."""
    left = [f"{len(record[kind])} {kind}: {', '.join(record[kind])}" for kind in ("missing", "unused", "mismatched")
            if record[kind]]  # fmt: skip
    copied = [f"{len(record['copied'])} mixers begin with attention's"] if "copied" in record else []
    return "; ".join([f"pretrained weights: {record['tensors']} tensors from {record['path']}", *left, *copied])
