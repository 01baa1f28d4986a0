"""The precision in which an exported model keeps the weights of its linear maps; activations stay in float32."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
import onnx
from onnx import numpy_helper

FLOAT32, INT8 = "float32", "int8"

#: Weights of an output that share a scale.
BLOCK = 32


def quantized(models: Mapping[str, onnx.ModelProto], weights: str) -> dict[str, onnx.ModelProto]:
    """The models by name with their weights in the precision `weights`, one of `float32` and `int8`; they are changed."""
    return {name: _PRECISIONS[weights](model) for name, model in models.items()}


def _as_is(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def _in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each block of weights in 8 bits and a scale, rounded to nearest; ONNX Runtime multiplies float32 activations by
    them (its operator MatMulNBits). Tables of embeddings stay in float32."""
    with _quiet_import():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    _fold_transposes(model)
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=BLOCK, is_symmetric=True)
    quantizer.process()
    changed: onnx.ModelProto = quantizer.model.model
    return changed


_PRECISIONS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = MappingProxyType(
    {FLOAT32: _as_is, INT8: _in_int8}
)


def _fold_transposes(model: onnx.ModelProto) -> None:
    """Transposed weights become weights: the quantizer takes nothing else."""
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in values:
            order = next((list(part.ints) for part in node.attribute if part.name == "perm"), None)
            turned = np.ascontiguousarray(numpy_helper.to_array(values[node.input[0]]).transpose(order))
            graph.initializer.append(numpy_helper.from_array(turned, node.output[0]))
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)


@contextmanager
def _quiet_import() -> Iterator[None]:
    """The module of the quantizer sends all logs of the process to standard error, its own among them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
