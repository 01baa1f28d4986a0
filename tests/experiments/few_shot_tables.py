"""Small tables as published ones: FBNet's last 60 architectures of HELP's pool and first 80 of its queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from search_spaces import SearchSpace
from search_spaces.tabular import fbnet

POOL, QUERIES = 60, 80
DEVICES = ("board", "camera", "drone", "phone")


def fbnet_table(space: SearchSpace, seed: int = 0, devices: tuple[str, ...] = DEVICES) -> pyarrow.Table:
    """Devices charge random prices for the costs of the networks, and timers scatter by 2 %."""
    rng = np.random.default_rng(seed)
    n = POOL + QUERIES
    codes = space.codes(space.sample(n, seed=1))
    features = space.features(codes)
    costs = features / np.maximum(features.mean(axis=0), 1)
    columns = {
        "arch_idx": np.arange(4000 - POOL, 4000 + QUERIES),
        "ops": fbnet.ops_of(codes),
        "macs_m": (space.macs(codes) / 1e6).astype(np.float32),
    }
    for device in devices:
        ms = 1 + costs @ np.exp(rng.standard_normal(costs.shape[1]))
        columns[device] = (ms * np.exp(0.02 * rng.standard_normal(n))).astype(np.float32)
    return pyarrow.table(columns)


def write(table: pyarrow.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)
    return path


def with_column(table: pyarrow.Table, name: str, values: np.ndarray) -> pyarrow.Table:
    return table.set_column(table.column_names.index(name), name, pyarrow.array(values))
