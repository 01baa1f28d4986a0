"""What each of torch's operators is in a workload."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from search_spaces.fusing import fuse_rms_norm
from search_spaces.recording import Recording, UnknownOperator
from search_spaces.workload import Attribute, Op

aten = torch.ops.aten

#: Operators that only give another name or another view to a tensor. (A copy is no operator of the network either:
#: torch needs it where the order of dimensions has changed, which is an operator by itself.)
VIEWS = {
    aten.clone.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.t.default,
    aten.detach.default,
    aten.alias.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
}

#: Operators with one or two activations as inputs, one output, and no attribute that matters to a device.
ELEMENTWISE = {
    aten.relu.default: "relu",
    aten.hardswish.default: "hardswish",
    aten.hardsigmoid.default: "hardsigmoid",
    aten.sigmoid.default: "sigmoid",
    aten.silu.default: "silu",
    aten.gelu.default: "gelu",
    aten.exp.default: "exp",
    aten.softplus.default: "softplus",
    aten.add.Tensor: "add",
    aten.sub.Tensor: "sub",
    aten.rsub.Scalar: "rsub",
    aten.mul.Tensor: "mul",
    aten.div.Tensor: "div",
    aten.pow.Tensor_Scalar: "pow",
    aten.sqrt.default: "sqrt",
}

#: Operators that make a constant, whatever they read: of a tensor they take the shape only.
SHAPED = {
    aten.full_like.default,
    aten.new_full.default,
    aten.new_ones.default,
    aten.new_zeros.default,
    aten.ones_like.default,
    aten.zeros_like.default,
}

#: Memory that batch normalisation reserves and does not use in evaluation mode.
ALLOCATIONS = {aten.empty.memory_format}

BATCH_NORMS = {
    aten._native_batch_norm_legit_no_training.default,
    aten.native_batch_norm.default,
}


def convolution(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    if not (transposed or any(padding)):
        source, padding = with_padding_before(record, source, tuple(padding))
    attributes: tuple[tuple[str, Attribute], ...] = (
        ("stride", tuple(stride)),
        ("padding", tuple(padding)),
        ("dilation", tuple(dilation)),
        ("groups", groups),
    )
    weights = (tuple(weight.shape), *(() if bias is None else (tuple(bias.shape),)))
    parameters = record.trainable_values(weight, bias)
    if not transposed:
        record.append("conv", (source,), output, attributes, weights, parameters)
    elif not any(output_padding):
        record.append("conv_transpose", (source,), output, attributes, weights, parameters)
    else:
        raise UnknownOperator("transposed convolutions with output_padding are not supported")


def with_padding_before(record: Recording, source: Tensor, padding: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """What a convolution reads, and what it pads: also what was padded just before it, as exporters fold it."""
    last = record.ops[-1] if record.ops else None
    if last is None or last.kind != "pad" or record.number_of(source) != last.outputs[0]:
        return source, padding
    record.ops.pop()
    del record.number[id(source)]
    whole = next(tensor for tensor in record.tensors if record.number.get(id(tensor)) == last.inputs[0])
    return whole, dict(last.attributes)["padding"]  # type: ignore[return-value]


def linear(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    bias, source, weight = args if len(args) == 3 else (None, *args)
    if id(weight) not in record.weights:
        raise UnknownOperator("a matrix product of two activations has no entry in search_spaces/operators.py")
    weights = (tuple(weight.shape), *(() if bias is None else (tuple(bias.shape),)))
    record.append("linear", (source,), output, (), weights, record.trainable_values(weight, bias))


def mean(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    record.append("mean", args[:1], output, _reduced(args))


def sum(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    record.append("sum", args[:1], output, _reduced(args))


def _reduced(args: tuple[Any, ...]) -> tuple[tuple[str, Attribute], ...]:
    """Attributes of a mean or a sum over dimensions."""
    source, dims, *keepdim = args
    return ("axes", tuple(dim % source.dim() for dim in dims)), ("keepdim", bool(keepdim and keepdim[0]))


def cumulative_sum(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    axis = args[1] % output.dim()
    if axis == 0:
        raise UnknownOperator("a cumulative sum over a batch is not supported")
    record.append("cumsum", args[:1], output, (("axis", axis),))


def average_pool(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    names = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    given = {"padding": (0, 0), "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
    given |= dict(zip(names, args[1:], strict=False))
    if given["divisor_override"] is not None:
        raise UnknownOperator("average pooling with divisor_override is not supported")
    window = _window(given, args[0], output)
    counted = ("count_include_pad", bool(given["count_include_pad"]))
    record.append("average_pool", args[:1], output, (*window[:3], counted, *window[3:]))


def max_pool(record: Recording, args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    names = ("kernel", "stride", "padding", "dilation", "ceil_mode")
    given = {"padding": (0, 0), "dilation": (1, 1), "ceil_mode": False} | dict(zip(names, args[1:], strict=False))
    if _pair(given["dilation"]) != (1, 1):
        raise UnknownOperator("max pooling with dilation is not supported")
    record.append("max_pool", args[:1], outputs[0], _window(given, args[0], outputs[0]))


def transpose(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, order = args
    order = tuple(dim % source.dim() for dim in order)
    record.append("transpose", (source,), output, (("order", order),))


def swap(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, first, second = args
    order = list(range(source.dim()))
    order[first], order[second] = order[second], order[first]
    transpose(record, (source, order), output)


def tril(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    if output.dim() < 3:
        raise UnknownOperator("the lower triangle of a matrix without a batch is not supported")
    record.append("tril", args[:1], output, (("diagonal", int(args[1]) if len(args) > 1 else 0),))


def expand(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    if output.numel() == args[0].numel():
        record.view(args[0], output)
        return
    if output.dim() != args[0].dim() or output.shape[0] != args[0].shape[0]:
        raise UnknownOperator("repeating a batch is not supported")
    record.append("expand", args[:1], output)


def matmul(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    constants = [stack for stack in args if id(stack) in record.weights]
    attributes: tuple[tuple[str, Attribute], ...] = (("constant_first", True),) if id(args[0]) in record.weights else ()
    shapes = tuple(tuple(tensor.shape) for tensor in constants)
    record.append("matmul", args, output, attributes, shapes, record.trainable_values(*constants))


def softmax(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    record.append("softmax", args[:1], output, (("axis", args[1] % output.dim()),))


def gather(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    table, numbers = args[:2]
    if id(table) not in record.weights:
        raise UnknownOperator("a look-up in a table that is not a constant is not supported")
    record.append("gather", (numbers,), output, (), (tuple(table.shape),), record.trainable_values(table))


def concat(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    tensors, axis = args[0], (args[1] if len(args) > 1 else 0) % output.dim()
    places = tuple(place for place, tensor in enumerate(tensors) if id(tensor) in record.weights)
    constants = [tensors[place] for place in places]
    if constants and axis == 0:
        raise UnknownOperator("concatenation of a batch with a constant is not supported")
    attributes: tuple[tuple[str, Attribute], ...] = (("axis", axis), *((("constants", places),) if places else ()))
    shapes = tuple(tuple(tensor.shape) for tensor in constants)
    record.append("concat", tuple(tensors), output, attributes, shapes, record.trainable_values(*constants))


def select(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, axis, index = args[0], args[1] % args[0].dim(), args[2] % args[0].shape[args[1]]
    if axis == 0:
        raise UnknownOperator("picking an entry of a batch is not supported")
    record.append("select", (source,), output, (("axis", axis), ("index", index)))


def slice(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, axis, start, end, *step = args
    if output.shape == source.shape:
        record.view(source, output)
        return
    axis %= source.dim()
    if axis == 0:
        raise UnknownOperator("taking a part of a batch is not supported")
    start, end, stride = builtins.slice(start, end, *step).indices(source.shape[axis])
    attributes: tuple[tuple[str, Attribute], ...] = (
        ("axis", axis),
        ("start", start),
        ("end", end),
        ("step", stride),
    )
    record.append("slice", (source,), output, attributes)


def pad(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    source, margins, *value = args
    if value not in ([], [0], [0.0]) or len(margins) != 4:
        raise UnknownOperator("padding of other dimensions than height and width, or not with zeros, is not supported")
    left, right, top, bottom = margins
    record.append("pad", (source,), output, (("padding", (top, left, bottom, right)),))


def upsample(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    sizes = [*zip(output.shape[2:], args[0].shape[2:], strict=True)]
    if any(large % small for large, small in sizes):
        raise UnknownOperator("upsampling by other factors than whole numbers is not supported")
    record.append("upsample", args[:1], output, (("factors", tuple(large // small for large, small in sizes)),))


def clip(record: Recording, args: tuple[Any, ...], output: Tensor) -> None:
    low, high = (float(bound) for bound in (args[1:] or (-1.0, 1.0)))
    record.append("clip", args[:1], output, (("min", low), ("max", high)))


def layer_norm(record: Recording, args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    source, shape, scale, shift, epsilon = args
    if scale is None or shift is None:
        raise UnknownOperator("layer normalisation without scale and shift is not supported")
    attributes: tuple[tuple[str, Attribute], ...] = (("axis", source.dim() - len(shape)), ("epsilon", epsilon))
    weights = (tuple(scale.shape), tuple(shift.shape))
    record.append("layer_norm", (source,), outputs[0], attributes, weights, record.trainable_values(scale, shift))


def group_norm(record: Recording, args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    source, scale, shift, *_, groups, epsilon = args
    if scale is None or shift is None:
        raise UnknownOperator("group normalisation without scale and shift is not supported")
    attributes: tuple[tuple[str, Attribute], ...] = (("groups", groups), ("epsilon", epsilon))
    weights = (tuple(scale.shape), tuple(shift.shape))
    record.append("group_norm", (source,), outputs[0], attributes, weights, record.trainable_values(scale, shift))


def batch_norm(record: Recording, args: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
    """Fold into the convolution before it, as every runtime does; otherwise it stays an operator."""
    source, scale, shift = args[:3]
    parameters = record.trainable_values(scale, shift)
    number = record.number_of(source)
    index = number - record.first
    producer = record.ops[index] if index >= 0 else None
    if producer is None or producer.kind != "conv" or any(number in op.inputs for op in record.ops):
        channels = (int(source.shape[1]),)
        record.append("batch_norm", (source,), outputs[0], (), (channels, channels), parameters)
        return
    weight = producer.weights[0]
    record.ops[index] = Op(
        producer.kind,
        producer.inputs,
        producer.outputs,
        producer.shapes,
        (weight, weight[:1]),
        producer.attributes,
        producer.parameters + parameters,
    )
    record.tensors.append(outputs[0])
    del record.number[id(source)]
    record.number[id(outputs[0])] = number


def elementwise(record: Recording, kind: str, args: tuple[Any, ...], output: Tensor) -> None:
    """One of `ELEMENTWISE`, whose operands may be constants and numbers."""
    if kind == "mul" and not isinstance(args[1], Tensor) and args[1] == 0:
        # Kept apart: a runtime may make nothing of it.
        record.append("zero", args[:1], output)
        return
    constants = [arg for arg in args if isinstance(arg, Tensor) and id(arg) in record.weights]
    if kind == "mul" and constants and fuse_rms_norm(record, args[0], constants[0], output):
        return
    shapes = tuple(tuple(tensor.shape) for tensor in constants)
    # Such as the scale of attention, without which a softmax is a step.
    numbers = tuple(("constant", float(arg)) for arg in args[1:2] if isinstance(arg, int | float))
    record.append(kind, args, output, numbers, shapes, record.trainable_values(*constants))


def _window(given: Mapping[str, Any], source: Tensor, output: Tensor) -> tuple[tuple[str, Attribute], ...]:
    """Attributes of a pooling; `ceil_mode` is one only where windows reach beyond the padded image."""
    kernel, padding = _pair(given["kernel"]), _pair(given["padding"])
    stride = _pair(given.get("stride") or given["kernel"])
    attributes = (("kernel", kernel), ("stride", stride), ("padding", padding))
    sizes = zip(source.shape[2:], output.shape[2:], kernel, stride, padding, strict=True)
    beyond = any((after - 1) * step + width > before + 2 * pad for before, after, width, step, pad in sizes)
    return (*attributes, ("ceil_mode", True)) if beyond else attributes


def _pair(sizes: Any) -> tuple[int, int]:
    height, *width = sizes
    return int(height), int(width[0] if width else height)


#: Each records an operator that ran, of its arguments and what it returned.
HANDLERS: Mapping[Any, Callable[[Recording, tuple[Any, ...], Any], None]] = {
    aten.convolution.default: convolution,
    aten.addmm.default: linear,
    aten.mm.default: linear,
    aten.mean.dim: mean,
    aten.sum.dim_IntList: sum,
    aten.cumsum.default: cumulative_sum,
    aten.avg_pool2d.default: average_pool,
    aten.max_pool2d_with_indices.default: max_pool,
    aten.permute.default: transpose,
    aten.transpose.int: swap,
    aten.expand.default: expand,
    aten.tril.default: tril,
    aten.bmm.default: matmul,
    aten._softmax.default: softmax,
    aten.embedding.default: gather,
    aten.cat.default: concat,
    aten.upsample_nearest2d.default: upsample,
    aten.select.int: select,
    aten.hardtanh.default: clip,
    aten.slice.Tensor: slice,
    aten.native_layer_norm.default: layer_norm,
    aten.native_group_norm.default: group_norm,
    **dict.fromkeys(BATCH_NORMS, batch_norm),
    aten.constant_pad_nd.default: pad,
}
