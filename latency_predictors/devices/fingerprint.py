"""What a device really was when it was measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latency_predictors.devices.device import Device

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")


def fingerprint(device: Device) -> dict[str, Any]:
    """Processor, memory, system, runtime, threads, load and time (UTC) of `device`, as JSON values.

    What this machine does not tell (the governor, the memory) is `None`.

    Raises:
        ModuleNotFoundError: when the device's runtime is not installed.
    """
    backend = device.make_backend()
    return {
        "processor": _processor(),
        "cores": _cores(),
        "governor": _read(_GOVERNOR) or None,
        "memory_mb": _memory_mb(),
        "operating_system": platform.platform(),
        "python": platform.python_version(),
        "runtime": device.backend,
        "runtime_version": backend.version(),
        "threads": backend.threads,
        "load_average": os.getloadavg()[0],
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _processor() -> str:
    """Model of the processor; ARM Linux has the board's name instead."""
    fields = dict(line.split(":", 1) for line in _read(_CPUINFO).splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    return found.get("model name") or found.get("Model") or platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_mb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    except (ValueError, OSError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
