"""ONNX models to be timed, built from a workload with random weights in tens of milliseconds.

Exporting a network takes seconds; its latency depends on operators and shapes only, and those a workload has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from latency_predictors.devices.unfolded import unfolded
from search_spaces.workload import Op, Shape, Workload

OPSET = 20
IR_VERSION = 10
_POOL = 65_521  # prime, so that repeats of the pool do not line up with the rows of a weight


def timing_graph(workload: Workload, batch: int = 1, seed: int = 0) -> bytes:
    """An ONNX model that runs the operators of `workload` on random weights.

    Its inputs are called `input0`, `input1`, ...; its outputs `output0`, ... The operators are those of torch's
    exporter. Indices are 64-bit integers; 0 is one of every table. Weights are scaled so that activations keep their
    size from layer to layer.

    Args:
        workload: traced with batch 1.
        batch: factor of the first dimension of every activation.
        seed: of the weights.

    Raises:
        ValueError: when an operator is of an unknown kind (naming it), or `batch` is less than 1.
    """
    if batch < 1:
        raise ValueError(f"batch is 1 or more, not {batch}")
    graph = _Graph(workload, batch, seed)
    for op in unfolded(workload):
        if op.kind not in _WRITERS:
            raise ValueError(
                f"operator kind {op.kind!r} has no ONNX form in latency_predictors/devices/timing_graph.py"
            )
        _WRITERS[op.kind](graph, op)
    return graph.serialised()


class _Graph:
    """The model being written. Constants go straight into it: onnx.helper would copy all weights several times."""

    def __init__(self, workload: Workload, batch: int, seed: int) -> None:
        self.workload, self.batch = workload, batch
        self.model = onnx.ModelProto(ir_version=IR_VERSION, opset_import=[helper.make_opsetid("", OPSET)])
        self.model.graph.name = "timing"
        inputs = {number: f"input{index}" for index, number in enumerate(workload.inputs)}
        self.names = {number: f"output{index}" for index, number in enumerate(workload.outputs)} | inputs
        self.shapes = dict(zip(workload.inputs, workload.input_shapes, strict=True))
        self._pool = np.random.default_rng(seed).standard_normal(_POOL, dtype=np.float32)

    def append(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))

    def node(self, op: Op, kind: str, *constants: str, **attributes: Any) -> None:
        """The node of `op`: its inputs, then `constants`."""
        inputs = [self.names[number] for number in op.inputs]
        self.append(kind, [*inputs, *constants], self.output(op), **attributes)

    def output(self, op: Op) -> str:
        """The name of the result of `op`, known from now on."""
        (number,) = op.outputs
        self.shapes[number] = op.output_shape
        return self.names.setdefault(number, f"tensor{number}")

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        tensor = self.model.graph.initializer.add()
        tensor.name = f"constant{len(self.model.graph.initializer)}"
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor.dims.extend(values.shape)
        tensor.raw_data = values.tobytes()
        return str(tensor.name)

    def sizes(self, values: Sequence[Any]) -> str:
        """A constant of 64-bit integers."""
        return self.constant(np.array(values, np.int64))

    def random(self, shape: Shape, scale: float) -> str:
        """Normal values. A few thousand are drawn and repeated: drawing millions would take most of the time."""
        return self.constant(np.resize(self._pool * np.float32(scale), shape))

    def batched(self, shape: Shape) -> list[int]:
        return [shape[0] * self.batch, *shape[1:]]

    def serialised(self) -> bytes:
        graph = self.model.graph
        graph.input.extend(self._value(self.names[number], number) for number in self.workload.inputs)
        for index, number in enumerate(self.workload.outputs):
            if self.names[number] != f"output{index}":  # an input, or a result that is there twice
                self.append("Identity", [self.names[number]], f"output{index}")
            graph.output.append(self._value(f"output{index}", number))
        return bytes(self.model.SerializeToString())

    def _value(self, name: str, number: int) -> onnx.ValueInfoProto:
        kind = TensorProto.INT64 if number in self.workload.indices else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, self.batched(self.shapes[number]))


def _conv(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    padding: tuple[int, ...] = attributes["padding"]  # type: ignore[assignment]
    graph.node(
        op,
        "Conv",
        *_weights(graph, op.weights, prod(op.weights[0][1:])),
        kernel_shape=op.weights[0][2:],
        strides=attributes["stride"],
        pads=padding if len(padding) == 4 else padding * 2,  # the same on both sides
        dilations=attributes["dilation"],
        group=attributes["groups"],
    )


def _conv_transpose(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    vertical, horizontal = attributes["padding"]  # type: ignore[misc]
    inputs, _, *window = op.weights[0]
    graph.node(
        op,
        "ConvTranspose",
        *_weights(graph, op.weights, inputs * prod(window)),
        kernel_shape=window,
        strides=attributes["stride"],
        pads=(vertical, horizontal, vertical, horizontal),
        dilations=attributes["dilation"],
        group=attributes["groups"],
    )


def _linear(graph: _Graph, op: Op) -> None:
    rows, columns = op.weights[0]
    if len(op.output_shape) == 2:
        shapes = ((columns, rows), *op.weights[1:])  # as torch stores and exports it
        graph.node(op, "Gemm", *_weights(graph, shapes, rows), transB=1)
        return
    weight, *bias = _weights(graph, op.weights, rows)
    if not bias:
        graph.node(op, "MatMul", weight)
        return
    product = f"{graph.output(op)}_product"
    graph.append("MatMul", [graph.names[op.inputs[0]], weight], product)
    graph.append("Add", [product, *bias], graph.output(op))


def _weights(graph: _Graph, shapes: tuple[Shape, ...], fan_in: int) -> list[str]:
    """Weight (He et al., ICCV 2015) and, when there is one, a small bias."""
    weight, *biases = shapes
    return [graph.random(weight, sqrt(2 / fan_in)), *(graph.random(bias, 0.01) for bias in biases)]


def _batch_norm(graph: _Graph, op: Op) -> None:
    (channels,) = op.weights[0]
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    graph.node(op, "BatchNormalization", *map(graph.constant, (one, zero, zero, one)))


def _arithmetic(kind: str) -> Callable[[_Graph, Op], None]:
    def write(graph: _Graph, op: Op) -> None:
        # With a constant as the second operand. Unknown ones are neither 0 nor 1, which would be optimised away.
        shapes = op.weights or ((),) if len(op.inputs) == 1 else ()
        value = float(dict(op.attributes).get("constant", 0.9))  # type: ignore[arg-type]
        # Squares are masks of scores, whose powers are summed in delta rules: those of larger values would overflow.
        values = [value / shape[-1] if kind == "Mul" and _is_square(shape) else value for shape in shapes]
        constants = (np.full(shape, number, np.float32) for shape, number in zip(shapes, values, strict=True))
        graph.node(op, kind, *map(graph.constant, constants))

    return write


def _is_square(shape: Shape) -> bool:
    return len(shape) >= 2 and shape[-1] == shape[-2]


def _reduction(kind: str) -> Callable[[_Graph, Op], None]:
    def write(graph: _Graph, op: Op) -> None:
        attributes = dict(op.attributes)
        axes: Any = attributes["axes"]
        graph.node(op, kind, graph.sizes(axes), keepdims=int(bool(attributes["keepdim"])))

    return write


def _cumulative_sum(graph: _Graph, op: Op) -> None:
    graph.node(op, "CumSum", graph.constant(np.array(dict(op.attributes)["axis"], np.int64)))


def _pool(kind: str) -> Callable[[_Graph, Op], None]:
    def write(graph: _Graph, op: Op) -> None:
        attributes = dict(op.attributes)
        vertical, horizontal = attributes["padding"]  # type: ignore[misc]
        graph.node(
            op,
            kind,
            kernel_shape=attributes["kernel"],
            strides=attributes["stride"],
            pads=(vertical, horizontal, vertical, horizontal),
            **{name: int(bool(attributes[name])) for name in ("count_include_pad", "ceil_mode") if name in attributes},
        )

    return write


def _layer_norm(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    scale, shift = op.weights
    constants = (graph.constant(np.ones(scale, np.float32)), graph.random(shift, 0.01))
    graph.node(op, "LayerNormalization", *constants, axis=attributes["axis"], epsilon=attributes["epsilon"])


def _rms_norm(graph: _Graph, op: Op) -> None:
    # In the form that ONNX Runtime makes one kernel of; opset 23 would have an operator for it.
    (source,), output, width = op.inputs, graph.output(op), len(op.output_shape)
    square, mean, sum_, root, whole = (f"{output}_{step}" for step in ("square", "mean", "sum", "root", "whole"))
    epsilon: Any = dict(op.attributes)["epsilon"]
    graph.append("Pow", [graph.names[source], graph.constant(np.array(2, np.float32))], square)
    graph.append("ReduceMean", [square, graph.sizes([width - 1])], mean, keepdims=1)
    graph.append("Add", [mean, graph.constant(np.array(epsilon, np.float32))], sum_)
    graph.append("Sqrt", [sum_], root)
    graph.append("Div", [graph.names[source], root], whole)
    graph.append("Mul", [whole, graph.constant(np.full(op.weights[0], 0.9, np.float32))], output)


def _upsample(graph: _Graph, op: Op) -> None:
    factors = graph.constant(np.array([1, 1, *dict(op.attributes)["factors"]], np.float32))  # type: ignore[misc]
    graph.node(
        op, "Resize", "", factors, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _gather(graph: _Graph, op: Op) -> None:
    # The table comes before the numbers of the rows.
    table = graph.random(op.weights[0], 1.0)
    graph.append("Gather", [table, graph.names[op.inputs[0]]], graph.output(op), axis=0)


def _softmax(graph: _Graph, op: Op) -> None:
    graph.node(op, "Softmax", axis=dict(op.attributes)["axis"])


def _concat(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    operands = [graph.names[number] for number in op.inputs]
    places: tuple[int, ...] = attributes.get("constants", ())  # type: ignore[assignment]
    for place, shape in zip(places, op.weights, strict=True):
        # A runtime concatenates tensors of one batch size only.
        operands.insert(place, graph.random(tuple(graph.batched(shape)), 1.0))
    graph.append("Concat", operands, graph.output(op), axis=attributes["axis"])


def _select(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    graph.node(op, "Gather", graph.constant(np.array(attributes["index"], np.int64)), axis=attributes["axis"])


def _matmul(graph: _Graph, op: Op) -> None:
    if not op.weights:
        graph.node(op, "MatMul")
        return
    # A constant stack is the same for every image, so their dimension is set apart.
    rows = op.weights[0][1]
    (source,) = (graph.names[number] for number in op.inputs)
    apart, product = f"{graph.output(op)}_apart", f"{graph.output(op)}_product"
    graph.append("Reshape", [source, graph.sizes((graph.batch, *op.shapes[0]))], apart)
    factors = [apart, *_weights(graph, op.weights, rows)]
    graph.append("MatMul", factors[::-1] if "constant_first" in dict(op.attributes) else factors, product)
    graph.append("Reshape", [product, graph.sizes(graph.batched(op.output_shape))], graph.output(op))


def _slice(graph: _Graph, op: Op) -> None:
    names = ("start", "end", "axis", "step")
    attributes = dict(op.attributes)
    graph.node(op, "Slice", *(graph.sizes([attributes[name]]) for name in names))


def _pad(graph: _Graph, op: Op) -> None:
    top, left, bottom, right = dict(op.attributes)["padding"]  # type: ignore[misc]
    graph.node(op, "Pad", graph.sizes([0, 0, top, left, 0, 0, bottom, right]))


def _group_norm(graph: _Graph, op: Op) -> None:
    # Every group is a channel of an instance normalisation; scale and shift come after it.
    attributes = dict(op.attributes)
    groups, shape = int(attributes["groups"]), graph.batched(op.output_shape)  # type: ignore[arg-type]
    flat, normal, whole, scaled = (f"{graph.output(op)}_{step}" for step in ("flat", "normal", "whole", "scaled"))
    one, zero = (graph.constant(np.full(groups, value, np.float32)) for value in (1, 0))
    graph.append("Reshape", [graph.names[op.inputs[0]], graph.sizes([shape[0], groups, -1])], flat)
    graph.append("InstanceNormalization", [flat, one, zero], normal, epsilon=attributes["epsilon"])
    graph.append("Reshape", [normal, graph.sizes(shape)], whole)
    column = (*op.weights[0], *[1] * (len(shape) - 2))
    graph.append("Mul", [whole, graph.constant(np.full(column, 0.9, np.float32))], scaled)
    graph.append("Add", [scaled, graph.random(column, 0.01)], graph.output(op))


def _softplus(graph: _Graph, op: Op) -> None:
    # Beyond 20 it is the identity, in torch.
    source, soft, large = graph.names[op.inputs[0]], f"{graph.output(op)}_soft", f"{graph.output(op)}_large"
    graph.append("Softplus", [source], soft)
    graph.append("Greater", [source, graph.constant(np.array(20, np.float32))], large)
    graph.append("Where", [large, source, soft], graph.output(op))


def _rsub(graph: _Graph, op: Op) -> None:
    number: Any = dict(op.attributes)["constant"]
    (source,) = op.inputs
    graph.append("Sub", [graph.constant(np.array(number, np.float32)), graph.names[source]], graph.output(op))


def _zero(graph: _Graph, op: Op) -> None:
    graph.node(op, "Mul", graph.constant(np.zeros((), np.float32)))


def _transpose(graph: _Graph, op: Op) -> None:
    graph.node(op, "Transpose", perm=dict(op.attributes)["order"])


def _reshape(graph: _Graph, op: Op) -> None:
    graph.node(op, "Reshape", graph.sizes(graph.batched(op.output_shape)))


def _tril(graph: _Graph, op: Op) -> None:
    graph.node(op, "Trilu", graph.constant(np.array(dict(op.attributes)["diagonal"], np.int64)), upper=0)


def _expand(graph: _Graph, op: Op) -> None:
    graph.node(op, "Expand", graph.sizes(graph.batched(op.output_shape)))


def _clip(graph: _Graph, op: Op) -> None:
    attributes = dict(op.attributes)
    bounds = [np.array(attributes[bound], np.float32) for bound in ("min", "max")]
    graph.node(op, "Clip", *map(graph.constant, bounds))


def _silu(graph: _Graph, op: Op) -> None:
    source, gate = graph.names[op.inputs[0]], f"{graph.output(op)}_gate"
    graph.append("Sigmoid", [source], gate)
    graph.append("Mul", [source, gate], graph.output(op))


def _plain(kind: str, **attributes: Any) -> Callable[[_Graph, Op], None]:
    def write(graph: _Graph, op: Op) -> None:
        graph.node(op, kind, **attributes)

    return write


_WRITERS: dict[str, Callable[[_Graph, Op], None]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "upsample": _upsample,
    "gather": _gather,
    "softmax": _softmax,
    "concat": _concat,
    "select": _select,
    "matmul": _matmul,
    "mean": _reduction("ReduceMean"),
    "sum": _reduction("ReduceSum"),
    "cumsum": _cumulative_sum,
    "average_pool": _pool("AveragePool"),
    "max_pool": _pool("MaxPool"),
    "reshape": _reshape,
    "transpose": _transpose,
    "expand": _expand,
    "tril": _tril,
    "slice": _slice,
    "pad": _pad,
    "exp": _plain("Exp"),
    "softplus": _softplus,
    "add": _arithmetic("Add"),
    "sub": _arithmetic("Sub"),
    "mul": _arithmetic("Mul"),
    "div": _arithmetic("Div"),
    "pow": _arithmetic("Pow"),
    "sqrt": _plain("Sqrt"),
    "rsub": _rsub,
    "zero": _zero,
    "clip": _clip,
    "relu": _plain("Relu"),
    "hardswish": _plain("HardSwish"),
    "hardsigmoid": _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "sigmoid": _plain("Sigmoid"),
    "silu": _silu,
    "gelu": _plain("Gelu"),
}
