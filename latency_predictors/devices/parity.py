"""Whether a device computes what the model says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from latency_predictors.devices.backend import Array
from latency_predictors.devices.runner import sentence

#: Of the largest absolute value of an output.
TOLERANCE = 1e-3


class ParityError(ValueError):
    """The outputs of a device are not those of the reference."""


def check_outputs(
    model: bytes, inputs: Mapping[str, Array], outputs: Mapping[str, Array], tolerance: float = TOLERANCE
) -> None:
    """Compare outputs of a device with a reference: ONNX Runtime without any optimisation, in this process.

    Args:
        model: an ONNX model.
        inputs: that the device was given.
        outputs: that it gave, by name.
        tolerance: difference allowed, relative to the largest absolute value of each output.

    Raises:
        ParityError: when an output is missing, has another shape, is not finite where the reference is, or differs by
            more than the tolerance.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        wanted = dict(
            zip([value.name for value in session.get_outputs()], session.run(None, dict(inputs)), strict=True)
        )
    except Exception as error:  # its exceptions share no base class
        raise ParityError(f"the outputs cannot be checked: {sentence(error)}") from error
    for name, value in wanted.items():
        if name not in outputs:
            raise ParityError(f"the device gives no output {name!r}")
        _compare(name, np.asarray(value), np.asarray(outputs[name]), tolerance)


def _compare(name: str, wanted: Array, got: Array, tolerance: float) -> None:
    if got.shape != wanted.shape:
        raise ParityError(f"output {name!r} has the shape {got.shape}, the reference {wanted.shape}")
    if not wanted.size:
        return
    largest = max(float(np.abs(wanted).max()), 1e-6)
    difference = float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max()) / largest
    if not difference <= tolerance:
        raise ParityError(
            f"output {name!r} differs from the reference by {difference:.2g} of its largest value; {tolerance:g} is allowed"
        )
