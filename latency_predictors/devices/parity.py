"""No latency before the outputs are right: the outputs of a session against those of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_predictors.devices.backend import Array, Backend, Model, Session
from latency_predictors.devices.torch import Torch


class ParityError(ValueError):
    """A runtime computes other outputs than torch; the message says how far off they are."""


def relative_difference(session: Session, model: Model, inputs: Mapping[str, Array]) -> float:
    """Largest difference between the outputs of `session` and of torch in float32, relative to the largest output.

    Args:
        session: `model`, loaded into a runtime.
        model: as bytes or as the path of a file.
        inputs: of the model, by name.

    Returns:
        The largest over all outputs; infinite when an output is not finite, or differs in name or shape.

    Raises:
        ValueError: when torch or the runtime cannot run the model, or the inputs are not those of the model.
    """
    wanted, found = Torch().prepare(model).run(inputs), session.run(inputs)
    if set(found) != set(wanted):
        return float("inf")
    return max(_difference(found[name], wanted[name]) for name in wanted)


def _difference(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
    return float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0)) / scale


def check(backend: Backend, session: Session, model: Model, inputs: Mapping[str, Array]) -> None:
    """Raise unless the outputs of `session`, which `backend` prepared, are those of torch.

    Raises:
        ParityError: when they differ by more than the backend's tolerance.
        ValueError: as for `relative_difference`.
    """
    difference = relative_difference(session, model, inputs)
    if not difference <= backend.tolerance:
        raise ParityError(
            f"{backend.title} computes other outputs than torch: they differ by {difference:.2g} of the largest one, "
            f"and {backend.tolerance:g} is allowed; its latency would be that of another network, so it was not timed"
        )
