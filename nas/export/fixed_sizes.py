"""An exported graph for one size of its inputs, as a device is given it to be timed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime

from latency_predictors.devices.models import with_sizes
from search_spaces.workload import Shape


def fixed(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> bytes:
    """The model for inputs of these shapes.

    Once sizes are known, so are positions, masks and the shapes that operators are given. They become constants, so that
    the model consists of the operators that a device runs and knows.

    Raises:
        ValueError: when an input cannot have its shape.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    content = with_sizes(model, shapes).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "fixed.onnx")
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return Path(options.optimized_model_filepath).read_bytes()
