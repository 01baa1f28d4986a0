"""Models that keep their weights in one file beside them, each weight once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import onnx
from onnx import external_data_helper, numpy_helper

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
        for tensor in model.graph.initializer:
            data = numpy_helper.to_array(tensor).tobytes()
            if len(data) < SMALLEST:
                continue
            mark = hashlib.sha256(data).digest()
            if mark not in places:
                content += bytes(-len(content) % ALIGNMENT)
                places[mark] = len(content)
                content += data
            tensor.ClearField("float_data")
            tensor.raw_data = data
            external_data_helper.set_external_data(tensor, file, places[mark], len(data))
            tensor.ClearField("raw_data")
    return {name: model.SerializeToString() for name, model in models.items()}, bytes(content)
