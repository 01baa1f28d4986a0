"""No latency before the outputs are right: the outputs of a session against those of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_predictors.devices.backend import TOLERANCES, Array, Backend, Model, Session


class ParityError(ValueError):
    """A runtime computes other outputs than torch; the message says how far off they are."""


def relative_differences(model: Model, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, float]:
    """Largest difference of each output of a device to torch's in float32, relative to its largest value there.

    Args:
        model: as bytes or as the path of a file.
        inputs: that the device was given, by name.
        outputs: that it gave, by name.

    Returns:
        By name; infinite for an output that is not finite, has another shape, or is on one side only.

    Raises:
        ValueError: when torch cannot run the model, or the inputs are not those of the model.
    """
    from latency_predictors.devices.torch import Torch  # imports onnx, which takes a while

    wanted = Torch().prepare(model).run(inputs)
    found = {name: np.asarray(value) for name, value in outputs.items()}
    return {name: _difference(found.get(name), wanted.get(name)) for name in sorted({*found, *wanted})}


def _difference(found: Array | None, wanted: Array | None) -> float:
    if found is None or wanted is None or found.shape != wanted.shape or not np.isfinite(found).all():
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
        model: as for `relative_differences`, as the next two.
        inputs: by name.
        outputs: by name.
        tolerance: difference allowed, relative to the largest value of an output: that of the device's backend.
        title: what computed them, for the message.

    Raises:
        ParityError: when they differ by more than the tolerance.
        ValueError: as for `relative_differences`.
    """
    differences = relative_differences(model, inputs, outputs)
    worst = max(differences, key=differences.__getitem__)
    if not differences[worst] <= tolerance:
        raise ParityError(
            f"{title} computes other outputs than torch: {worst!r} differs by {differences[worst]:.2g} of its largest "
            f"value, and {tolerance:g} is allowed; the latency would be that of another network, so it was not timed"
        )


def check(backend: Backend, session: Session, model: Model, inputs: Mapping[str, Array]) -> None:
    """Raise unless the outputs of `session`, which `backend` prepared, are those of torch; errors as `check_outputs`.

    Raises:
        ValueError: also when the runtime cannot run the model.
    """
    check_outputs(model, inputs, session.run(inputs), backend.tolerance, backend.title)
