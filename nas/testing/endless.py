"""A model that a measuring process must survive."""

from __future__ import annotations

from onnx import TensorProto, helper


def endless() -> bytes:
    """A well-formed model that runs for years: it counts to 2**62."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["go"]), helper.make_node("Add", ["sum", "sum"], ["next"])],
        "body",
        [value("i", TensorProto.INT64, []), value("more", TensorProto.BOOL, []), value("sum", TensorProto.FLOAT, [1])],
        [value("go", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
    )
    count = helper.make_node("Constant", [], ["count"], value=helper.make_tensor("c", TensorProto.INT64, [], [2**62]))
    loop = helper.make_node("Loop", ["count", "", "input0"], ["output0"], body=body)
    graph = helper.make_graph(
        [count, loop], "g", [value("input0", TensorProto.FLOAT, [1])], [value("output0", TensorProto.FLOAT, [1])]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())
