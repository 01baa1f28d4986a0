"""Inputs to time a model with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from latency_predictors.devices.backend import Array, Input


class Described(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> Mapping[str, Input]:
        """Its inputs by name."""


def random_inputs(session: Described, rng: np.random.Generator) -> Mapping[str, Array]:
    """Inputs that the model accepts: normal values for floating point, zeros for integers; a free batch is 1.

    Raises:
        ValueError: when a dimension other than the first is free.
    """
    inputs: dict[str, Array] = {}
    for name, wanted in session.inputs.items():
        if None in wanted.shape[1:]:
            raise ValueError(f"input {name!r} has free dimensions {wanted.shape}: export the model with fixed sizes")
        shape = [1 if size is None else size for size in wanted.shape]
        floating = np.issubdtype(np.dtype(wanted.dtype), np.floating)
        inputs[name] = (rng.standard_normal(shape) if floating else np.zeros(shape)).astype(wanted.dtype)
    return inputs
