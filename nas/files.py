"""Writing files so that a killed process leaves the old content or the new one, never half of it."""

from __future__ import annotations

import fcntl
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from latency_predictors.files import write_bytes, write_text, writing
from nas.errors import UsageError

__all__ = [
    "locked",
    "read_checkpoint",
    "read_json",
    "read_tensors",
    "write_bytes",
    "write_checkpoint",
    "write_json",
    "write_tensors",
    "write_text",
]


def write_json(path: Path, data: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path, advice: str = "delete it to make it again") -> Any:
    """The JSON value in `path`.

    Args:
        path: of the file.
        advice: what to do when it is damaged.

    Raises:
        UsageError: when the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}; {advice}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a state dictionary as safetensors."""
    write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote.

    Raises:
        UsageError: when the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing") from error
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}; delete it to make it again") from error


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dictionaries of tensors and numbers with `torch.save`, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote; nothing in it is executed.

    Raises:
        UsageError: when the file is damaged.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch lets through whatever a damaged file makes its unpickler do
        raise UsageError(f"{path} is damaged or not a checkpoint; delete it to train again from the start") from error
    if not isinstance(state, dict):
        raise UsageError(f"{path} is not a checkpoint; delete it to train again from the start")
    return state


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it when the process ends, however it ends.

    Raises:
        BlockingIOError: when somebody else holds it and `wait` is false.
        NotWritten: when the file cannot be made.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
