"""Runtimes written in C++ that print on standard output, where only results belong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_standard_error() -> Iterator[None]:
    """What native code of this process prints meanwhile goes to standard error; not for several threads at once."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
