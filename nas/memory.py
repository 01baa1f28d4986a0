"""How the process asks the system for memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
_LARGE = 2**30


def keep_freed_memory() -> bool:
    """Let this process keep large blocks that it frees, and use them again.

    glibc gives blocks of some MiB back to the system when they are freed; each step of training on a CPU then asks for
    all of its activations anew, page by page. The process stays as large as it once was.

    Returns:
        Whether it took effect: False without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, _LARGE) == 1 for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
