"""Commands in processes that may do less: new ones, since a forked one would have what threads of other tests hold."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

#: Of `capset`: its version, this process; and no capability at all.
_CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()


def small_files(size_bytes: int) -> None:
    """No file may grow beyond a size: writing on fails as on a full disk, with another number."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def permissions_apply() -> None:
    """To root too, by giving up what lets root write everywhere."""
    if os.geteuid() == 0 and ctypes.CDLL(None).capset(*_CAPABILITIES) != 0:
        os._exit(77)


def unrestricted() -> None:
    """As the tests themselves."""


def nas(folder: Path, arguments: Sequence[str | Path], restrict: Callable[[], None] = unrestricted) -> tuple[int, str]:
    """Exit code and standard error of `nas` in a folder, which then has the file `stderr`."""
    process = multiprocessing.get_context("spawn").Process(target=partial(_main, folder, arguments, restrict))
    process.start()
    process.join(300)
    if process.exitcode == 77:
        pytest.skip("root cannot give up its rights here")
    assert process.exitcode is not None
    return process.exitcode, (folder / "stderr").read_text()


def _main(folder: Path, arguments: Sequence[str | Path], restrict: Callable[[], None]) -> None:
    from nas.cli import main

    os.chdir(folder)
    os.environ.setdefault("NASMYTH_HOME", str(folder / "home"))
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - not pytest's
    sys.argv = ["nas", *map(str, arguments)]
    restrict()
    main()
