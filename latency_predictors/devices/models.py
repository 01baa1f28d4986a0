"""Reading ONNX models for runtimes that only say in a log, or not at all, what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto, defs, helper, shape_inference

from latency_predictors.devices.backend import Input, Model
from latency_predictors.devices.runner import sentence


def read(model: Model, title: str) -> ModelProto:
    """The model, given as bytes or as the path of a file; `title` names the runtime in messages.

    Raises:
        ValueError: when it cannot be read, is not an ONNX model, or has an operator that ONNX does not know.
    """
    try:
        read = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    except (OSError, DecodeError, ValueError) as error:
        raise ValueError(f"{title} cannot load the model: {_reason(error)}") from error
    if not read.graph.output or not read.opset_import:
        raise ValueError(f"{title} cannot load the model: it is not an ONNX model")
    unknown = sorted(set(_unknown_operators(read)))
    if unknown:
        raise unsupported(title, unknown)
    return read


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return f"it is not an ONNX model ({sentence(error)})"


def _unknown_operators(model: ModelProto) -> Iterable[str]:
    own = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        if not defs.has(node.op_type, node.domain) and (node.domain, node.op_type) not in own:
            yield node.op_type


def unsupported(title: str, operators: Iterable[str]) -> ValueError:
    """The error for a model with `operators` that the runtime does not know."""
    return ValueError(f"{title} cannot load the model: it does not know the operator {', '.join(operators)}")


def operators_named(model: ModelProto, log: str) -> list[str]:
    """The operators of `model` that stand as a word in what a converter wrote."""
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in log).split())
    return sorted({node.op_type for node in model.graph.node} & words)


def inputs_of(model: ModelProto) -> dict[str, Input]:
    """The inputs of `model` by name."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: Input(_shape(value), _dtype(value)) for value in model.graph.input if value.name not in constants
    }


def outputs_of(model: ModelProto) -> list[str]:
    """The names of the outputs of `model`."""
    return [value.name for value in model.graph.output]


def output_shapes(model: ModelProto) -> dict[str, tuple[int | None, ...]]:
    """The shape of each output of `model` by name."""
    return {value.name: _shape(value) for value in model.graph.output}


def _shape(value: ValueInfoProto) -> tuple[int | None, ...]:
    sizes = value.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in sizes)


def _dtype(value: ValueInfoProto) -> str:
    return str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def with_batch(model: ModelProto, batch: int) -> ModelProto:
    """A copy of `model` where every first dimension of an input that was free is `batch`, and nothing else is free.

    Raises:
        ValueError: when another dimension of an input is free.
    """
    for name, value in inputs_of(model).items():
        if None in value.shape[1:]:
            raise ValueError(f"input {name!r} has free dimensions {value.shape}: export the model with fixed sizes")
    fixed = ModelProto()
    fixed.CopyFrom(model)
    sizes = [value.type.tensor_type.shape.dim for value in fixed.graph.input]
    free = {size.dim_param for dims in sizes for size in dims if not size.HasField("dim_value")}
    everywhere = (*fixed.graph.input, *fixed.graph.output, *fixed.graph.value_info)
    for size in (size for value in everywhere for size in value.type.tensor_type.shape.dim):
        if not size.HasField("dim_value") and size.dim_param in free:
            size.dim_value = batch
    return fixed


def with_sizes(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> ModelProto:
    """A copy of `model` whose inputs have these shapes, so that runtimes know every size when they load it.

    Raises:
        ValueError: when an input has another size already, or another number of them.
    """
    fixed = ModelProto()
    fixed.CopyFrom(model)
    for name, value in inputs_of(model).items():
        wanted = tuple(shapes[name])
        fits = len(wanted) == len(value.shape) and all(
            size in (None, got) for size, got in zip(value.shape, wanted, strict=True)
        )
        if not fits:
            raise ValueError(f"input {name!r} has the shape {value.shape}, and cannot be given {wanted}")
    for value in fixed.graph.input:
        for size, wanted_size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            size.dim_value = wanted_size
    # What the exporter wrote of the others are expressions in the sizes that were free.
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        for size in value.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.Clear()
    return shape_inference.infer_shapes(fixed, data_prop=True)
