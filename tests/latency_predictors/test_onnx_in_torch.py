"""Torch's translation of every operator against onnx's reference implementation and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from latency_predictors.devices import timing_graph
from latency_predictors.devices.onnx_in_torch import TRANSLATIONS, OnnxInTorch
from latency_predictors.devices.onnxruntime import OnnxRuntime
from nas.testing.backends import (
    every_hybrid_operator,
    every_language_operator,
    every_mixer_operator,
    every_operator,
    every_token_operator,
)

Shape = tuple[int, ...]
Constants = Sequence[NDArray[Any] | None]


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def model_of(
    kind: str,
    shapes: Sequence[Shape],
    constants: Constants,
    opset: int = 20,
    result: int = TensorProto.FLOAT,
    **attributes: Any,
) -> ModelProto:
    """One node: inputs of `shapes`, then constants (`None` for one that is left out)."""
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    tensors = {f"c{i}": value for i, value in enumerate(constants) if value is not None}
    names = [value.name for value in inputs] + [f"c{i}" if f"c{i}" in tensors else "" for i in range(len(constants))]
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["y"], **attributes)], "g", inputs,
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def choice(kind: str) -> ModelProto:
    """The larger one of two inputs: a comparison, and what it decides, of which `kind` comes first."""
    model = model_of("Where", [(3, 4), (3, 4)], [normal(3, 4) > 0])
    node = model.graph.node[0]
    node.input[:] = ["c0", "x0", "x1"]
    if kind == "Greater":
        node.input[0] = "larger"
        model.graph.node.insert(0, helper.make_node("Greater", ["x0", "x1"], ["larger"]))
        del model.graph.initializer[:]
    return model


def shaped_alike() -> ModelProto:
    """The first of two inputs in the shape of the second."""
    model = model_of("Reshape", [(3, 4), (2, 6)], [])
    model.graph.node[0].input[1] = "shape"
    model.graph.node.insert(0, helper.make_node("Shape", ["x1"], ["shape"]))
    return model


IMAGE = (2, 4, 7, 6)
REPEATED = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
CASES: dict[str, Callable[[], ModelProto]] = {
    "conv": lambda: model_of("Conv", [IMAGE], [normal(6, 4, 3, 3)], kernel_shape=[3, 3]),
    "conv grouped with bias": lambda: model_of(
        "Conv", [IMAGE], [normal(8, 2, 3, 3), normal(8)],
        kernel_shape=[3, 3], strides=[2, 1], dilations=[1, 2], pads=[1, 2, 1, 2], group=2,
    ),
    "conv with uneven pads": lambda: model_of(
        "Conv", [IMAGE], [normal(3, 4, 2, 3)], kernel_shape=[2, 3], pads=[0, 1, 2, 3], auto_pad="NOTSET"
    ),
    "transposed conv": lambda: model_of(
        "ConvTranspose", [IMAGE], [normal(4, 3, 4, 4), normal(3)], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "transposed conv, depthwise": lambda: model_of(
        "ConvTranspose", [IMAGE], [normal(4, 1, 3, 3)], kernel_shape=[3, 3], dilations=[1, 2], group=4
    ),
    "resize": lambda: model_of(
        "Resize", [IMAGE], [None, np.array([1, 1, 2, 3], np.float32)], **REPEATED
    ),
    "gemm as linear": lambda: model_of("Gemm", [(2, 5)], [normal(3, 5), normal(3)], transB=1),
    "gemm without bias": lambda: model_of("Gemm", [(5, 2)], [normal(5, 3)], transA=1, alpha=0.5),
    "gemm scaled": lambda: model_of("Gemm", [(2, 5)], [normal(5, 3), normal(3)], alpha=0.5, beta=2.0),
    "matmul": lambda: model_of("MatMul", [(2, 7, 5)], [normal(5, 3)]),
    "add": lambda: model_of("Add", [IMAGE, (4, 1, 1)], []),
    "mul by a constant": lambda: model_of("Mul", [IMAGE], [np.array(0.9, np.float32)]),
    "batch norm": lambda: model_of(
        "BatchNormalization", [IMAGE], [normal(4), normal(4) + 1, normal(4) * 2, normal(4) ** 2], epsilon=0.01
    ),
    "mean": lambda: model_of("ReduceMean", [IMAGE], [np.array([2, -1])], keepdims=0),
    "mean, old form": lambda: model_of("ReduceMean", [IMAGE], [], opset=13, axes=[1]),
    "average pool": lambda: model_of(
        "AveragePool", [IMAGE], [], kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "average pool, padding not counted": lambda: model_of(
        "AveragePool", [IMAGE], [], kernel_shape=[3, 2], pads=[1, 1, 1, 1]
    ),
    "average pool beyond the image": lambda: model_of(
        "AveragePool", [IMAGE], [], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
    ),
    "max pool": lambda: model_of(
        "MaxPool", [IMAGE], [], kernel_shape=[3, 3], strides=[2, 1], pads=[1, 0, 1, 0]
    ),
    "max pool beyond the image": lambda: model_of(
        "MaxPool", [IMAGE], [], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1
    ),
    "transpose": lambda: model_of("Transpose", [IMAGE], [], perm=[0, 2, 3, 1]),
    "transpose, all dimensions": lambda: model_of("Transpose", [IMAGE], []),
    "reshape": lambda: model_of("Reshape", [IMAGE], [np.array([0, -1, 2])]),
    "reshape of the exporter": lambda: model_of("Reshape", [IMAGE], [np.array([-1, 42])], allowzero=1),
    "clip": lambda: model_of("Clip", [IMAGE], [np.array(-0.5, np.float32), np.array(1, np.float32)]),
    "clip above": lambda: model_of("Clip", [IMAGE], [None, np.array(0.3, np.float32)]),
    "hard sigmoid": lambda: model_of("HardSigmoid", [IMAGE], []),
    "hard sigmoid of torch": lambda: model_of("HardSigmoid", [IMAGE], [], alpha=1 / 6, beta=0.5),
    "gelu": lambda: model_of("Gelu", [IMAGE], []),
    "gelu with tanh": lambda: model_of("Gelu", [IMAGE], [], approximate="tanh"),
    "hard swish": lambda: model_of("HardSwish", [IMAGE], []),
    "relu": lambda: model_of("Relu", [IMAGE], []),
    "sigmoid": lambda: model_of("Sigmoid", [IMAGE], []),
    "softmax": lambda: model_of("Softmax", [IMAGE], []),
    "softmax of channels": lambda: model_of("Softmax", [IMAGE], [], axis=1),
    "layer norm": lambda: model_of("LayerNormalization", [(2, 3, 8)], [normal(8), normal(8)]),
    "layer norm of two dimensions": lambda: model_of(
        "LayerNormalization", [IMAGE], [normal(7, 6)], axis=2, epsilon=0.01
    ),
    "matmul of stacks": lambda: model_of("MatMul", [(2, 3, 4, 5), (2, 3, 5, 6)], []),
    "gather": lambda: model_of("Gather", [(5, 8)], [np.array([[4, 0, 1]])]),
    "gather of columns": lambda: model_of("Gather", [IMAGE], [np.array([[3, 0, 1]])], axis=-1),
    "gather of one entry": lambda: model_of("Gather", [(2, 3, 8)], [np.array(1)], axis=1),
    "shape": lambda: model_of("Shape", [IMAGE], [], result=TensorProto.INT64),
    "shape of the batch": lambda: model_of("Shape", [IMAGE], [], result=TensorProto.INT64, start=0, end=1),
    "expand": lambda: model_of("Expand", [(1, 3, 1)], [np.array([4, 1, 5])]),
    "expand to more dimensions": lambda: model_of("Expand", [(3, 1)], [np.array([2, 1, 6])]),
    "concat": lambda: model_of("Concat", [IMAGE, (2, 1, 7, 6)], [], axis=1),
    "exp": lambda: model_of("Exp", [IMAGE], []),
    "softplus": lambda: model_of("Softplus", [IMAGE], []),
    "sub": lambda: model_of("Sub", [IMAGE, (7, 1)], []),
    "div": lambda: model_of("Div", [IMAGE], [np.array(3, np.float32)]),
    "pow": lambda: model_of("Pow", [IMAGE], [np.array(2, np.float32)]),
    "sqrt": lambda: model_of("Sqrt", [IMAGE], []),
    "sum": lambda: model_of("ReduceSum", [IMAGE], [np.array([1, -1])], keepdims=0),
    "cumulative sum": lambda: model_of("CumSum", [IMAGE], [np.array(2)]),
    "lower triangle": lambda: model_of("Trilu", [IMAGE], [np.array(-1)], upper=0),
    "upper triangle": lambda: model_of("Trilu", [IMAGE], []),
    "squeeze": lambda: model_of("Squeeze", [(3, 1, 4, 1)], [np.array([-1])]),
    "squeeze of all": lambda: model_of("Squeeze", [(3, 1, 4, 1)], []),
    "greater": lambda: choice("Greater"),
    "where": lambda: choice("Where"),
    "reshape to the shape of another": shaped_alike,
    "slice": lambda: model_of("Slice", [IMAGE], [np.array([1, 1]), np.array([2**40, 6]), np.array([1, -1]), np.array([2, 3])]),
    "slice without steps": lambda: model_of("Slice", [IMAGE], [np.array([0, -2]), np.array([1, 4])]),
    "pad": lambda: model_of("Pad", [IMAGE], [np.array([0, 0, 1, 0, 0, 0, 2, 3])], mode="constant"),
    "pad with a number": lambda: model_of("Pad", [IMAGE], [np.array([0, 1, 0, 0, 0, 0, 0, 1]), np.array(2, np.float32)]),
    "unsqueeze": lambda: model_of("Unsqueeze", [(3, 4)], [np.array([-1, 1])]),
    "instance norm": lambda: model_of("InstanceNormalization", [IMAGE], [normal(4), normal(4)], epsilon=0.01),
    "identity": lambda: model_of("Identity", [IMAGE], []),
}  # fmt: skip


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_operator_gives_what_onnx_says(case: str, channels_last: bool) -> None:
    model = CASES[case]()
    sizes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in model.graph.input]
    inputs = {f"x{i}": 3 * normal(*shape) for i, shape in enumerate(sizes)}
    if case == "sqrt":
        inputs = {name: abs(value) for name, value in inputs.items()}
    network = OnnxInTorch(model, channels_last)
    (found,) = network(*(network.laid_out(torch.from_numpy(value)) for value in inputs.values()))
    (reference,) = ReferenceEvaluator(model).run(None, dict(inputs))
    runtime = OnnxRuntime().prepare(model.SerializeToString()).run(inputs)["y"]
    np.testing.assert_allclose(found.numpy(), np.asarray(reference), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.numpy(), runtime, rtol=1e-5, atol=1e-5)


def test_there_is_a_case_for_every_operator() -> None:
    assert {model().graph.node[0].op_type for model in CASES.values()} == set(TRANSLATIONS) - {"MatMulNBits"}


def test_weights_of_eight_bits() -> None:
    """An operator of ONNX Runtime alone."""
    quantizer = MatMulNBitsQuantizer(model_of("MatMul", [(2, 3, 80)], [normal(80, 16)]), bits=8, is_symmetric=True)
    quantizer.process()
    model = quantizer.model.model
    assert [node.op_type for node in model.graph.node] == ["MatMulNBits"]
    x = normal(2, 3, 80)
    runtime = OnnxRuntime().prepare(model.SerializeToString()).run({"x0": x})["y"]
    np.testing.assert_allclose(OnnxInTorch(model)(torch.from_numpy(x))[0].numpy(), runtime, rtol=1e-4, atol=1e-4)


def test_it_has_every_operator_of_timing_graphs() -> None:
    kinds = set()
    makers = (
        every_operator,
        every_token_operator,
        every_mixer_operator,
        every_hybrid_operator,
        every_language_operator,
    )
    for workload in (make() for make in makers):
        model = onnx.load_from_string(timing_graph.timing_graph(workload))
        assert {node.op_type for node in model.graph.node} <= set(TRANSLATIONS)
        kinds |= {op.kind for op in workload.ops}
    assert kinds == set(timing_graph._WRITERS)


def test_constants_are_copied() -> None:
    model = CASES["mul by a constant"]()
    network = OnnxInTorch(model)
    model.graph.initializer[0].raw_data = np.array(7, np.float32).tobytes()
    assert network(torch.ones(IMAGE))[0].max() == torch.tensor(0.9)


BAD: dict[str, tuple[ModelProto, str]] = {
    "unknown": (model_of("Softsign", [IMAGE], []), "torch cannot load the model: it does not know the operator Softsign"),
    "auto_pad": (
        model_of("Conv", [IMAGE], [normal(6, 4, 3, 3)], kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        "Conv with auto_pad='SAME_UPPER'",
    ),
    "one dimension": (model_of("Conv", [(1, 4, 7)], [normal(6, 4, 3)], kernel_shape=[3]), "Conv over 1 dimensions"),
    "training": (
        model_of("BatchNormalization", [IMAGE], [normal(4)] * 4, training_mode=1), "BatchNormalization with training_mode=1"
    ),
    "layer norm in half precision": (
        model_of("LayerNormalization", [IMAGE], [normal(6)], stash_type=10), "LayerNormalization with stash_type=10"
    ),
    "all axes": (model_of("ReduceMean", [IMAGE], []), "ReduceMean without axes"),
    "pool of one dimension": (model_of("AveragePool", [(1, 4, 7)], [], kernel_shape=[3]), "AveragePool over 1 dimensions"),
    "pool with uneven pads": (
        model_of("AveragePool", [IMAGE], [], kernel_shape=[2, 2], pads=[0, 0, 1, 1]), "AveragePool with uneven pads"
    ),
    "dilated pool": (
        model_of("MaxPool", [IMAGE], [], kernel_shape=[2, 2], dilations=[2, 2]), r"MaxPool with dilations=\[2, 2\]"
    ),
    "pool by columns": (
        model_of("MaxPool", [IMAGE], [], kernel_shape=[2, 2], storage_order=1), "MaxPool with storage_order=1"
    ),
    "backwards": (
        model_of("Slice", [IMAGE], [np.array([3]), np.array([0]), np.array([2]), np.array([-1])]), "Slice with a negative step"
    ),
    "reflection": (model_of("Pad", [IMAGE], [np.array([0, 0, 1, 0, 0, 0, 2, 3])], mode="reflect"), "Pad with mode='reflect'"),
    "pad of some axes": (
        model_of("Pad", [IMAGE], [np.array([1, 2]), None, np.array([2])]), "Pad of some axes only"
    ),
    "transposed conv with uneven pads": (
        model_of("ConvTranspose", [IMAGE], [normal(4, 1, 3, 3)], pads=[1, 0, 0, 1]), "ConvTranspose with uneven pads"
    ),
    "transposed conv, wider": (
        model_of("ConvTranspose", [IMAGE], [normal(4, 1, 3, 3)], strides=[2, 2], output_padding=[1, 1]),
        "ConvTranspose with output_padding",
    ),
    "bilinear": (model_of("Resize", [IMAGE], [None, np.ones(4, np.float32)], mode="linear"), "Resize with mode='linear'"),
    "centres of pixels": (
        model_of("Resize", [IMAGE], [None, np.ones(4, np.float32)]), "Resize with coordinate_transformation_mode='half_pixel'"
    ),
    "resize of channels": (
        model_of("Resize", [IMAGE], [None, np.array([1, 2, 1, 1], np.float32)], **REPEATED), "Resize needs factors"
    ),
    "resize to sizes": (model_of("Resize", [IMAGE], [None, None, np.array(IMAGE)], **REPEATED), "Resize needs factors"),
    "computed bound": (model_of("Clip", [IMAGE, ()], []), "input 1 of operator Clip must be a constant"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_translation_is_named(case: str) -> None:
    model, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        OnnxInTorch(model)
