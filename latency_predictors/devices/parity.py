"""No latency before the outputs are right: the outputs of a session against those of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_predictors.devices.backend import TOLERANCES, Array, Backend, Model, Session


class ParityError(ValueError):
    """A runtime computes other outputs than torch; the message says how far off they are."""


def relative_difference(model: Model, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> float:
    """Largest difference between outputs of a device and of torch in float32, relative to the largest output.

    Args:
        model: as bytes or as the path of a file.
        inputs: that the device was given, by name.
        outputs: that it gave, by name.

    Returns:
        The largest over all outputs; infinite when an output is not finite, or differs in name or shape.

    Raises:
        ValueError: when torch cannot run the model, or the inputs are not those of the model.
    """
    from latency_predictors.devices.torch import Torch  # imports onnx, which takes a while

    wanted = Torch().prepare(model).run(inputs)
    if set(outputs) != set(wanted):
        return float("inf")
    return max(_difference(np.asarray(outputs[name]), value) for name, value in wanted.items())


def _difference(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    scale = max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
    return float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0)) / scale


def check_outputs(
    model: Model,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    tolerance: float = TOLERANCES["f32"],
    title: str = "the device",
) -> None:
    """Raise unless `outputs`, which a device gave for `inputs`, are those of torch.

    Args:
        model: as for `relative_difference`, as the next two.
        inputs: by name.
        outputs: by name.
        tolerance: difference allowed, relative to the largest output: that of the device's backend.
        title: what computed them, for the message.

    Raises:
        ParityError: when they differ by more than the tolerance.
        ValueError: as for `relative_difference`.
    """
    difference = relative_difference(model, inputs, outputs)
    if not difference <= tolerance:
        raise ParityError(
            f"{title} computes other outputs than torch: they differ by {difference:.2g} of the largest one, "
            f"and {tolerance:g} is allowed; its latency would be that of another network, so it was not timed"
        )


def check(backend: Backend, session: Session, model: Model, inputs: Mapping[str, Array]) -> None:
    """Raise unless the outputs of `session`, which `backend` prepared, are those of torch; errors as `check_outputs`.

    Raises:
        ValueError: also when the runtime cannot run the model.
    """
    check_outputs(model, inputs, session.run(inputs), backend.tolerance, backend.title)
