"""Memory that is kept costs no page faults when it is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from nas.memory import keep_freed_memory
kept = keep_freed_memory() if "keep" in sys.argv else None
torch.set_num_threads(1)
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(2**24)  # 64 MiB: more than glibc keeps by itself
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_is_used_again() -> None:
    def faults(*arguments: str) -> list[str]:
        command = [sys.executable, "-c", FAULTS, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    (_, without), (kept, having) = faults(), faults("keep")
    assert kept == "True"
    assert int(having) < int(without) / 3
