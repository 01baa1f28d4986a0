"""Files that are never half written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `path` so that a reader, or a crash, finds the old file or the new one and nothing between.

    The content goes to a temporary file beside `path`, is flushed to the disk, and takes its name.

    Raises:
        OSError: when the folder does not exist or cannot be written to.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | os.PathLike[str], data: dict[str, Any]) -> None:
    """Write `data` as indented JSON, as `write_text` does.

    Raises:
        ValueError: when `data` holds a number that JSON has no name for (NaN, infinity).
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """The JSON object in the file at `path`; `what` names it in messages, such as 'a predictor'.

    Raises:
        ValueError: when there is no such file, or no JSON object in it.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{what} cannot be read from {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not hold {what}: it is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} does not hold {what}: expected a JSON object")
    return data
