"""Files that are never half written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: What to do about errors of the system: no room on the disk, for this user, or in a file of this process; no right to it.
ADVICE: Mapping[int | None, str] = MappingProxyType(
    {
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room and repeat"),
        **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or choose another place"),
    }
)


class NotWritten(OSError):
    """A file could not be written, and what was there is as it was. The message says which file, why and what to do.

    Args:
        path: of the file.
        error: of the system.
    """

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename} could not be written ({self.strerror}); what was there is kept: {advice(self)}"


def advice(error: OSError) -> str:
    """What to do when the system refuses to write."""
    return ADVICE.get(error.errno, "choose another place")


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Within the context something is written to `path`.

    Raises:
        NotWritten: in place of another `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(path, error) from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `path` so that a reader, or a crash, finds the old file or the new one and nothing between.

    The content goes to a temporary file beside `path`, is flushed to the disk, and takes its name; folders are made.

    Raises:
        NotWritten: when that is not possible; an older file is kept.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
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
