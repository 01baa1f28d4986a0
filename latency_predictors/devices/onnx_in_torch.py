"""Running an ONNX model with torch's operators: those that timing graphs and exported networks consist of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isclose
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from latency_predictors.devices.models import unsupported

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class _Node:
    """A node with its attributes, and those of its inputs that are constants."""

    kind: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, NDArray[Any]]

    def constant(self, index: int) -> NDArray[Any] | None:
        """The constant input at `index`; `None` when the node has no such input.

        Raises:
            ValueError: when the input is computed while the model runs.
        """
        name = self.inputs[index] if index < len(self.inputs) else ""
        if not name:
            return None
        if name not in self.constants:
            raise ValueError(f"torch cannot run the model: input {index} of operator {self.kind} must be a constant")
        return self.constants[name]

    def need(self, **values: Any) -> None:
        """Raise a `ValueError` unless attributes that are given have these values."""
        for name, value in values.items():
            if self.attributes.get(name, value) != value:
                raise ValueError(
                    f"torch cannot run the model: operator {self.kind} with {name}={self.attributes[name]!r} "
                    "has no translation"
                )


class OnnxInTorch:
    """The model as a function from inputs, in the order of the model, to a tuple of outputs.

    Args:
        model: whose constants are copied.
        channels_last: whether tensors of four dimensions lie in memory with channels last.

    Raises:
        ValueError: when the model has an operator, or a form of one, that has no translation; it is named.
    """

    def __init__(self, model: ModelProto, channels_last: bool = False) -> None:
        graph = model.graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        unknown = sorted({node.op_type for node in graph.node} - set(TRANSLATIONS))
        if unknown:
            raise unsupported("torch", unknown)
        self._channels_last = channels_last
        self._inputs = [value.name for value in graph.input if value.name not in arrays]
        self._outputs = [value.name for value in graph.output]
        self._steps = [_step(node, arrays) for node in graph.node]
        used = {name for _, names, _ in self._steps for name in names} | set(self._outputs)
        self._constants = {
            name: self.laid_out(torch.from_numpy(np.array(array))) for name, array in arrays.items() if name in used
        }

    def laid_out(self, tensor: Tensor) -> Tensor:
        """The tensor in the memory layout of the model."""
        if self._channels_last and tensor.dim() == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor.contiguous()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(self._constants)
        values.update(zip(self._inputs, inputs, strict=True))
        for function, names, output in self._steps:
            values[output] = function(*[values[name] for name in names])
        return tuple(values[name] for name in self._outputs)


def _step(node: NodeProto, arrays: Mapping[str, NDArray[Any]]) -> tuple[Function, tuple[str, ...], str]:
    """What computes the node's output, from which values, and the output's name."""
    attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
    given = _Node(node.op_type, tuple(node.input), attributes, arrays)
    names = [name for name in node.input if name]
    function = TRANSLATIONS[node.op_type](given)
    computed = names if node.op_type not in _CONFIGURED else [names[0], *(n for n in names[1:] if n not in arrays)]
    return function, tuple(computed), node.output[0]


def _value(attribute: Any) -> Any:
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _conv(node: _Node) -> Function:
    node.need(auto_pad="NOTSET")
    window = node.attributes.get("kernel_shape", [0, 0])
    if len(window) != 2:
        raise ValueError(f"torch cannot run the model: operator Conv over {len(window)} dimensions has no translation")
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
    even = (top, left) == (bottom, right)
    stride, dilation = (tuple(node.attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
    padding, groups = (top, left) if even else (0, 0), node.attributes.get("group", 1)

    def function(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padded = x if even else functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, weight, bias, stride, padding, dilation, groups)

    return function


def _conv_transpose(node: _Node) -> Function:
    node.need(auto_pad="NOTSET", output_padding=[0, 0])
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise ValueError("torch cannot run the model: operator ConvTranspose with uneven pads has no translation")
    stride, dilation = (tuple(node.attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
    groups = node.attributes.get("group", 1)

    def function(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.conv_transpose2d(x, weight, bias, stride, (top, left), 0, groups, dilation)

    return function


def _gemm(node: _Node) -> Function:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    flip_a, flip_b = node.attributes.get("transA", 0), node.attributes.get("transB", 0)
    if (alpha, beta, flip_a, flip_b) == (1.0, 1.0, 0, 1):
        return functional.linear

    def function(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a, b = a.t() if flip_a else a, b.t() if flip_b else b
        return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return function


def _matmul_of_bits(node: _Node) -> Function:
    """ONNX Runtime's product with weights of 8 bits that are laid out by outputs and blocks, each block with a scale."""
    node.need(bits=8)
    size, outputs = node.attributes["K"], node.attributes["N"]
    if len([name for name in node.inputs if name]) > 3:
        raise ValueError("torch cannot run the model: operator MatMulNBits with zero points has no translation")

    def function(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
        blocks = weight.reshape(outputs, -1, weight.shape[-1]).float() - 128
        return functional.linear(x, (blocks * scales.reshape(outputs, -1, 1)).flatten(1)[:, :size])

    return function


def _batch_norm(node: _Node) -> Function:
    node.need(training_mode=0)
    epsilon = node.attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift, mean, variance: functional.batch_norm(x, mean, variance, scale, shift, eps=epsilon)


def _reduction(function: Function) -> Callable[[_Node], Function]:
    def translate(node: _Node) -> Function:
        axes = node.constant(1)
        dims = node.attributes.get("axes") if axes is None else axes.tolist()
        keepdim = bool(node.attributes.get("keepdims", 1))
        if not dims:
            raise ValueError(f"torch cannot run the model: operator {node.kind} without axes has no translation")
        return lambda x: function(x, dims, keepdim)

    return translate


def _cumulative_sum(node: _Node) -> Function:
    node.need(exclusive=0, reverse=0)
    axis = node.constant(1)
    assert axis is not None  # ONNX requires it
    return lambda x: x.cumsum(int(axis))


def _window(node: _Node) -> dict[str, Any]:
    """What torch's poolings take of the attributes of ONNX's."""
    node.need(auto_pad="NOTSET", dilations=[1, 1])
    window = tuple(node.attributes["kernel_shape"])
    if len(window) != 2:
        raise ValueError(
            f"torch cannot run the model: operator {node.kind} over {len(window)} dimensions has no translation"
        )
    top, left, bottom, right = node.attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        raise ValueError(f"torch cannot run the model: operator {node.kind} with uneven pads has no translation")
    return {
        "kernel_size": window,
        "stride": tuple(node.attributes.get("strides", [1, 1])),
        "padding": (top, left),
        "ceil_mode": bool(node.attributes.get("ceil_mode", 0)),
    }


def _average_pool(node: _Node) -> Function:
    window, counted = _window(node), bool(node.attributes.get("count_include_pad", 0))
    return lambda x: functional.avg_pool2d(x, **window, count_include_pad=counted)


def _max_pool(node: _Node) -> Function:
    node.need(storage_order=0)
    window = _window(node)
    return lambda x: functional.max_pool2d(x, **window)


def _transpose(node: _Node) -> Function:
    order = node.attributes.get("perm")
    return lambda x: x.permute(order or tuple(reversed(range(x.dim()))))


def _reshape(node: _Node) -> Function:
    if node.inputs[1] not in node.constants:
        return lambda x, sizes: x.reshape(sizes.tolist())
    shape = node.constant(1)
    sizes = [] if shape is None else shape.tolist()
    if node.attributes.get("allowzero", 0) or 0 not in sizes:
        return lambda x: x.reshape(sizes)
    return lambda x: x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def _clip(node: _Node) -> Function:
    low, high = (None if bound is None else float(bound) for bound in (node.constant(1), node.constant(2)))
    return lambda x: x.clamp(low, high)


def _hard_sigmoid(node: _Node) -> Function:
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _gelu(node: _Node) -> Function:
    approximate = node.attributes.get("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _layer_norm(node: _Node) -> Function:
    node.need(stash_type=1)
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)

    def function(x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
        return functional.layer_norm(x, x.shape[axis:], scale, shift, epsilon)

    return function


def _resize(node: _Node) -> Function:
    defaults = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
    given = replace(node, attributes={**defaults, **node.attributes})
    given.need(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    factors = node.constant(2)
    if factors is None or len(factors) != 4 or (factors[:2] != 1).any():
        raise ValueError("torch cannot run the model: operator Resize needs factors for height and width of images")
    scale = tuple(factors[2:].tolist())
    return lambda x: functional.interpolate(x, scale_factor=scale, mode="nearest")


def _softmax(node: _Node) -> Function:
    axis = node.attributes.get("axis", -1)
    return lambda x: x.softmax(axis)


def _gather(node: _Node) -> Function:
    axis = node.attributes.get("axis", 0)
    return lambda table, numbers: table[(*[slice(None)] * (axis % table.dim()), numbers)]


def _shape(node: _Node) -> Function:
    wanted = slice(node.attributes.get("start", 0), node.attributes.get("end"))
    return lambda x: torch.tensor(x.shape[wanted])


def _expand(x: Tensor, sizes: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, sizes.tolist()))


def _concat(node: _Node) -> Function:
    axis = node.attributes["axis"]
    return lambda *tensors: torch.cat(tensors, axis)


def _slice(node: _Node) -> Function:
    bounds = [node.constant(index) for index in range(1, 5)]
    starts, ends = ([] if bound is None else bound.tolist() for bound in bounds[:2])
    axes = range(len(starts)) if bounds[2] is None else bounds[2].tolist()
    steps = [1] * len(starts) if bounds[3] is None else bounds[3].tolist()
    if min(steps) < 1:
        raise ValueError("torch cannot run the model: operator Slice with a negative step has no translation")
    parts = dict(zip(axes, map(slice, starts, ends, steps), strict=True))
    return lambda x: x[tuple(parts.get(axis, parts.get(axis - x.dim(), slice(None))) for axis in range(x.dim()))]


def _pad(node: _Node) -> Function:
    node.need(mode="constant")
    margins, value = node.constant(1), node.constant(2)
    if margins is None or node.constant(3) is not None:
        raise ValueError("torch cannot run the model: operator Pad of some axes only has no translation")
    before, after = np.split(margins, 2)
    amounts = [int(amount) for pair in zip(before[::-1], after[::-1], strict=True) for amount in pair]
    return lambda x: functional.pad(x, amounts, value=0.0 if value is None else float(value))


def _instance_norm(node: _Node) -> Function:
    epsilon = node.attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift: functional.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


def _squeeze(node: _Node) -> Function:
    axes = node.constant(1)
    return torch.squeeze if axes is None else lambda x: x.squeeze(tuple(axes.tolist()))


def _unsqueeze(node: _Node) -> Function:
    axes = node.constant(1)
    places = [] if axes is None else axes.tolist()

    def function(x: Tensor) -> Tensor:
        rank = x.dim() + len(places)
        new = {place % rank for place in places}
        return x[tuple(None if axis in new else slice(None) for axis in range(rank))]

    return function


def _plain(function: Function) -> Callable[[_Node], Function]:
    return lambda _: function


def _triangle(node: _Node) -> Function:
    diagonal, function = node.constant(1), torch.triu if node.attributes.get("upper", 1) else torch.tril
    return lambda x: function(x, 0 if diagonal is None else int(diagonal))


def _identity(x: Tensor) -> Tensor:
    return x


#: Operators whose inputs after the first are constants that their translation has read.
_CONFIGURED = {
    "Clip",
    "CumSum",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Resize",
    "Slice",
    "Squeeze",
    "Trilu",
    "Unsqueeze",
}

#: For each operator what makes the function of its inputs.
TRANSLATIONS: dict[str, Callable[[_Node], Function]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "CumSum": _cumulative_sum,
    "Div": _plain(torch.div),
    "Exp": _plain(torch.exp),
    "Expand": _plain(_expand),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Greater": _plain(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(_identity),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _plain(torch.matmul),
    "MatMulNBits": _matmul_of_bits,
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Pad": _pad,
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _plain(functional.softplus),
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
