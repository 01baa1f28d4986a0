"""Models that keep their weights in one file beside them, each weight once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import onnx
from onnx import external_data_helper, helper, numpy_helper

#: Smaller tensors stay in the model, where tools that fold constants look for them.
SMALLEST = 1024
#: Each weight begins at a multiple of it, as wide vector instructions want it.
ALIGNMENT = 64


def share_weights(models: Mapping[str, onnx.ModelProto], file: str) -> tuple[dict[str, bytes], bytes]:
    """The models without their weights, by name, and the content of the file that has them.

    Args:
        models: by name; they are changed.
        file: name of the file, which must lie beside the models.
    """
    content, places = bytearray(), dict[bytes, int]()
    for model in models.values():
        _read_transposed(model)
        for tensor in model.graph.initializer:
            data = numpy_helper.to_array(tensor).tobytes()
            if len(data) < SMALLEST:
                continue
            mark = _mark(data)
            if mark not in places:
                content += bytes(-len(content) % ALIGNMENT)
                places[mark] = len(content)
                content += data
            tensor.ClearField("float_data")
            tensor.raw_data = data
            external_data_helper.set_external_data(tensor, file, places[mark], len(data))
            tensor.ClearField("raw_data")
    return {name: model.SerializeToString() for name, model in models.items()}, bytes(content)


def _read_transposed(model: onnx.ModelProto) -> None:
    """Matrices that are the transpose of another one become that: of a tied table, exporters make two. Runtimes turn it
    when they load the model."""
    graph, kept = model.graph, dict[bytes, str]()
    for tensor in list(graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.ndim != 2 or array.nbytes < SMALLEST:
            continue
        source = kept.get(_mark(array.T.tobytes(), array.shape[::-1]))
        if source is None:
            kept[_mark(array.tobytes(), array.shape)] = tensor.name
        else:
            graph.initializer.remove(tensor)
            graph.node.insert(0, helper.make_node("Transpose", [source], [tensor.name], perm=[1, 0]))


def _mark(data: bytes, shape: tuple[int, ...] = ()) -> bytes:
    return hashlib.sha256(repr(shape).encode() + data).digest()
