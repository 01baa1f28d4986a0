"""Devices of which only the data sheet is known: rooflines without a measurement."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from latency_predictors.roofline_costs import PARAMETERS, RooflineCosts
from search_spaces import SearchSpace
from search_spaces.space import Codes, nearest


@dataclass(frozen=True)
class Times:
    """Where the time of n architectures goes, in milliseconds, each of shape (n,).

    Attributes:
        arithmetic_ms: of operators whose arithmetic takes longer than their memory traffic.
        memory_ms: of all others.
        launches_ms: overhead of starting operators.
    """

    arithmetic_ms: NDArray[np.float64]
    memory_ms: NDArray[np.float64]
    launches_ms: NDArray[np.float64]

    @property
    def total_ms(self) -> NDArray[np.float64]:
        """The latency, shape (n,)."""
        return self.arithmetic_ms + self.memory_ms + self.launches_ms


@dataclass(frozen=True)
class SpecSheet:
    """The figures of a device that tell its roofline.

    A network takes the sum over its operators of max(FLOPs / peak, bytes / bandwidth), plus a launch each, where an
    operator reads its inputs and weights from memory and writes its outputs there (Williams, Waterman and Patterson,
    CACM 2009). It is a model, not a measurement: runtimes that fuse operators or keep activations in a cache need less
    traffic, and hardly any reaches the peak. Operators are those of the exported graph, in which a further token copies
    the keys and values before it and transposes the keys: four passes over them where fused attention needs one.

    Attributes:
        name: for people.
        peak_gflops: floating-point operations per second / 1e9, at the precision in which the device computes; a
            multiply-accumulate operation is two.
        bandwidth_gbs: bytes per second to and from memory / 1e9.
        launch_us: overhead of each operator in microseconds.
        weight_bits: bits of a weight in memory, 4.5 for one of 4 bits with a scale of 16 bits for each 32.
        activation_bits: bits of an activation, and of a value in a cache of keys and values.
        memory_gb: how much a network may take, in 1e9 bytes; `None` when that is no matter.

    Raises:
        ValueError: when a figure is not a finite number above 0 (the launch: not below 0).
    """

    name: str
    peak_gflops: float
    bandwidth_gbs: float
    launch_us: float = 0.0
    weight_bits: float = 32.0
    activation_bits: float = 32.0
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for key in _FIGURES:
            value = getattr(self, key)
            if value is None and key == "memory_gb":
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (value == 0 and key != "launch_us"):
                least = "of 0 or more" if key == "launch_us" else "above 0"
                raise ValueError(f"{key} of the device {self.name!r} must be a number {least}, not {value!r}")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpecSheet:
        """The figures in a YAML file, whose name without its ending is that of the device.

        Raises:
            ValueError: when the file cannot be read, a figure is missing, unknown (the nearest known one is named) or
                impossible.
        """
        file = Path(path)
        try:
            data = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"the figures of a device in {file} cannot be read: {error}") from error
        if not isinstance(data, dict):
            raise ValueError(f"{file} must hold figures of a device as keys with values: {', '.join(_FIGURES)}")
        for key in data:
            if key not in _FIGURES:
                raise ValueError(
                    f"{file}: there is no figure {key!r}{nearest(str(key), _FIGURES)}; there are {', '.join(_FIGURES)}"
                )
        missing = [key for key in _NEEDED if key not in data]
        if missing:
            raise ValueError(f"{file} does not say {' and '.join(missing)} of the device")
        return cls(file.stem, **data)

    def times(self, space: SearchSpace, codes: Codes, phase: str) -> Times:
        """How long networks take, from counting their operators: no weight is made.

        Args:
            space: of the networks.
            codes: shape (n, number of choices).
            phase: one of `space.phases`.
        """
        costs = RooflineCosts(space.slot_workloads(phase), self.weight_bits / 8, self.activation_bits / 8)
        figures = {"bytes": 1e-6 / self.bandwidth_gbs, "kernels": self.launch_us * 1e-3, "call": 0.0}
        mac_ms = 2e-6 / self.peak_gflops
        parts = costs.parts_ms(space.canonical(codes), np.array([figures.get(name, mac_ms) for name in PARAMETERS]))
        column = {name: parts[:, index] for index, name in enumerate(PARAMETERS)}
        arithmetic_ms = sum((column[name] for name in PARAMETERS if name not in figures), np.zeros(len(parts)))
        return Times(arithmetic_ms, column["bytes"], column["kernels"])

    def document(self) -> Mapping[str, Any]:
        """As JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


_FIGURES = [field.name for field in fields(SpecSheet) if field.name != "name"]
_NEEDED = [field.name for field in fields(SpecSheet) if field.name in _FIGURES and field.default is MISSING]
