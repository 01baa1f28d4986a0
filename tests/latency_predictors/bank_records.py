"""A record with plausible values."""

from __future__ import annotations

from typing import Any

from latency_predictors import Record
from search_spaces import SearchSpace

FINGERPRINT = {
    "processor": "a",
    "flags": "avx2",
    "cores": 2,
    "operating_system": "Linux-6.1-x86_64",
    "runtime": "onnxruntime",
    "runtime_version": "1.31.1",
    "threads": 1,
    "load_average": 0.5,
    "time": "2026-01-01T00:00:00.000+00:00",
}


def record(space: SearchSpace, seed: int = 0, **changes: Any) -> Record:
    """The network of `seed`, with `changes` of the record."""
    fields: dict[str, Any] = {
        "device": "board",
        "backend": "onnxruntime",
        "options": {"threads": 1},
        "space": space.name,
        "space_fingerprint": space.fingerprint,
        "phase": "inference",
        "batch": 1,
        "architecture": space.sample(seed + 1, seed=0)[seed].values,
        "latency_ms": 1.0 + seed,
        "median_ms": 1.5 + seed,
        "samples_ms": (1.0 + seed, 2.0 + seed),
        "repeat_error": 0.01,
        "protocol": {"rounds": 12},
        "fingerprint": FINGERPRINT,
    }
    return Record(**fields | changes)


def marks(**changes: Any) -> dict[str, Any]:
    """A fingerprint with `changes`."""
    return {**FINGERPRINT, **changes}
