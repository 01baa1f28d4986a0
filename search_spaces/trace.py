"""Reading the workload off a module by running it on the meta device: no arithmetic is done, no memory is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from search_spaces.workload import Attribute, Op, Shape, Workload

aten = torch.ops.aten

#: Operators that only give another name or another view to a tensor. (A copy is no operator of the network either:
#: torch needs it where the order of dimensions has changed, which is an operator by itself.)
_VIEWS = {
    aten.clone.default,
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.t.default,
    aten.detach.default,
    aten.alias.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.expand.default,
}

#: Operators with one or two activations as inputs, one output, and no attribute that matters to a device.
_ELEMENTWISE = {
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
    aten.mul.Tensor: "mul",
}

#: Memory that batch normalisation reserves and does not use in evaluation mode.
_ALLOCATIONS = {aten.empty.memory_format}

_BATCH_NORMS = {
    aten._native_batch_norm_legit_no_training.default,
    aten.native_batch_norm.default,
}


class UnknownOperator(RuntimeError):
    """An operator whose cost is not known; the message names it."""


class _Recorder(TorchDispatchMode):
    """Records every operator that runs under it as an `Op`."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.weights: dict[int, Tensor] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        # Parameters that a constant is computed from, and how many values each has until an operator has read it.
        self.sources: dict[int, frozenset[int]] = {
            id(tensor): frozenset([id(tensor)]) for tensor in self.weights.values()
        }
        self.trainable: dict[int, int] = {id(tensor): tensor.numel() for tensor in module.parameters()}
        self.number: dict[int, int] = {id(tensor): index for index, tensor in enumerate(inputs)}
        # Keeps every tensor alive: a freed one would pass its id on to another.
        self.tensors: list[Tensor] = list(inputs)
        self.first = len(inputs)
        # By the padded tensor: the tensor that was padded, and the zeros above, left, below and right of it.
        self.padded: dict[int, tuple[Tensor, tuple[int, ...]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = _run(func, args, kwargs or {})
        if func in _ALLOCATIONS:
            return output
        if self._is_constant(args):
            self._fold(args, output)
        elif func in _VIEWS:
            self._view(args[0], output)
        elif func in _ELEMENTWISE:
            self._elementwise(_ELEMENTWISE[func], args, output)
        elif func in _BATCH_NORMS:
            self._batch_norm(args, output[0])
        elif func is aten.native_layer_norm.default:
            self._layer_norm(args, output[0])
        elif func is aten.native_group_norm.default:
            self._group_norm(args, output[0])
        elif func in _HANDLERS:
            _HANDLERS[func](self, args, output)
        else:
            raise UnknownOperator(
                f"operator {func} has no entry in search_spaces/trace.py, so its cost is not known; add one"
            )
        return output

    def _is_constant(self, args: tuple[Any, ...]) -> bool:
        """Whether an operator reads constants only."""
        tensors = _tensors(args)
        return bool(tensors) and all(id(tensor) in self.weights for tensor in tensors)

    def _fold(self, args: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        """Take what is computed from constants alone for a constant, as every runtime does."""
        sources = frozenset().union(*(self.sources[id(tensor)] for tensor in _tensors(args)))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            self.tensors.append(tensor)
            self.weights[id(tensor)] = tensor
            self.sources[id(tensor)] = sources

    def _view(self, source: Tensor, view: Tensor) -> None:
        self.tensors.append(view)
        if view.shape == source.shape:
            self.number[id(view)] = self._number(source)
        else:
            self._append("reshape", (source,), view)

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) in self.padded and id(tensor) not in self.number:
            source, zeros = self.padded[id(tensor)]
            self._append("pad", (source,), tensor, (("padding", zeros),))
        if id(tensor) not in self.number:
            raise UnknownOperator(
                "an operator reads a constant that was made on the way, a convolution that is also read without "
                "its batch normalisation, or a padding that is no part of a convolution; the cost of none is known"
            )
        return self.number[id(tensor)]

    def _append(
        self,
        kind: str,
        args: tuple[Any, ...],
        output: Tensor,
        attributes: tuple[tuple[str, Attribute], ...] = (),
        weights: tuple[Shape, ...] = (),
        parameters: int = 0,
    ) -> None:
        read = [arg for arg in args if isinstance(arg, Tensor) and id(arg) not in self.weights]
        numbers = tuple(self._number(tensor) for tensor in read)
        self.tensors.append(output)
        result = self.number[id(output)] = self.first + len(self.ops)
        shapes = (*(tuple(tensor.shape) for tensor in read), tuple(output.shape))
        self.ops.append(Op(kind, numbers, (result,), shapes, weights, attributes, parameters))

    def _elementwise(self, kind: str, args: tuple[Any, ...], output: Tensor) -> None:
        if kind == "mul" and not isinstance(args[1], Tensor) and args[1] == 0:
            # Kept apart: a runtime may make nothing of it.
            self._append("zero", args[:1], output)
            return
        constants = [arg for arg in args if isinstance(arg, Tensor) and id(arg) in self.weights]
        shapes = tuple(tuple(tensor.shape) for tensor in constants)
        # Such as the scale of attention, without which a softmax is a step.
        numbers = tuple(("constant", float(arg)) for arg in args[1:2] if isinstance(arg, int | float))
        self._append(kind, args, output, numbers, shapes, self._constants(*constants))

    def _constants(self, *tensors: Tensor | None) -> int:
        """Trainable values that `tensors` were computed from, each counted for the first operator that reads it."""
        constants = [tensor for tensor in tensors if tensor is not None]
        sources = frozenset().union(*(self.sources.get(id(tensor), frozenset()) for tensor in constants))
        return sum(self.trainable.pop(source, 0) for source in sources)

    def convolution(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, weight, bias, stride, padding, dilation, transposed, _, groups = args
        if transposed:
            raise UnknownOperator("transposed convolutions are not supported")
        if id(source) in self.padded and not any(padding):
            source, padding = self.padded[id(source)]
        attributes: tuple[tuple[str, Attribute], ...] = (
            ("stride", tuple(stride)),
            ("padding", tuple(padding)),
            ("dilation", tuple(dilation)),
            ("groups", groups),
        )
        weights = (tuple(weight.shape), *(() if bias is None else (tuple(bias.shape),)))
        self._append("conv", (source,), output, attributes, weights, self._constants(weight, bias))

    def pad(self, args: tuple[Any, ...], output: Tensor) -> None:
        """Zeros around an image belong to the convolution that reads it, as torch's ONNX exporter has it; for another
        reader they are an operator (see `_number`)."""
        source, zeros, value = (*args, 0)[:3]
        if value == 0 and source.dim() == len(zeros) == 4:
            left, right, top, bottom = zeros
            self.padded[id(output)] = source, (top, left, bottom, right)
        self.tensors.append(output)

    def linear(self, args: tuple[Any, ...], output: Tensor) -> None:
        bias, source, weight = args if len(args) == 3 else (None, *args)
        if id(weight) not in self.weights:
            raise UnknownOperator("a matrix product of two activations has no entry in search_spaces/trace.py")
        weights = (tuple(weight.shape), *(() if bias is None else (tuple(bias.shape),)))
        self._append("linear", (source,), output, (), weights, self._constants(weight, bias))

    def mean(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, dims = args[0], args[1]
        keepdim = bool(args[2]) if len(args) > 2 else False
        attributes: tuple[tuple[str, Attribute], ...] = (
            ("axes", tuple(dim % source.dim() for dim in dims)),
            ("keepdim", keepdim),
        )
        self._append("mean", (source,), output, attributes)

    def average_pool(self, args: tuple[Any, ...], output: Tensor) -> None:
        names = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        given = {"padding": (0, 0), "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        given |= dict(zip(names, args[1:], strict=False))
        if given["ceil_mode"] or given["divisor_override"] is not None:
            raise UnknownOperator("average pooling with ceil_mode or divisor_override is not supported")
        attributes: tuple[tuple[str, Attribute], ...] = (
            ("kernel", _pair(given["kernel"])),
            ("stride", _pair(given.get("stride") or given["kernel"])),
            ("padding", _pair(given["padding"])),
            ("count_include_pad", bool(given["count_include_pad"])),
        )
        self._append("average_pool", args[:1], output, attributes)

    def transpose(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, order = args
        order = tuple(dim % source.dim() for dim in order)
        self._append("transpose", (source,), output, (("order", order),))

    def swap(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, first, second = args
        order = list(range(source.dim()))
        order[first], order[second] = order[second], order[first]
        self.transpose((source, order), output)

    def matmul(self, args: tuple[Any, ...], output: Tensor) -> None:
        left, right = args
        if id(left) in self.weights:
            raise UnknownOperator("a product of a constant stack of matrices with an activation is not supported")
        constants = [right] if id(right) in self.weights else []
        shapes = tuple(tuple(tensor.shape) for tensor in constants)
        self._append("matmul", args, output, (), shapes, self._constants(*constants))

    def softmax(self, args: tuple[Any, ...], output: Tensor) -> None:
        self._append("softmax", args[:1], output, (("axis", args[1] % output.dim()),))

    def gather(self, args: tuple[Any, ...], output: Tensor) -> None:
        table, numbers = args[:2]
        if id(table) not in self.weights:
            raise UnknownOperator("a look-up in a table that is not a constant is not supported")
        self._append("gather", (numbers,), output, (), (tuple(table.shape),), self._constants(table))

    def concat(self, args: tuple[Any, ...], output: Tensor) -> None:
        tensors, axis = args[0], (args[1] if len(args) > 1 else 0) % output.dim()
        places = tuple(place for place, tensor in enumerate(tensors) if id(tensor) in self.weights)
        constants = [tensors[place] for place in places]
        if constants and axis == 0:
            raise UnknownOperator("concatenation of a batch with a constant is not supported")
        attributes: tuple[tuple[str, Attribute], ...] = (("axis", axis), *((("constants", places),) if places else ()))
        shapes = tuple(tuple(tensor.shape) for tensor in constants)
        self._append("concat", tuple(tensors), output, attributes, shapes, self._constants(*constants))

    def select(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, axis, index = args[0], args[1] % args[0].dim(), args[2] % args[0].shape[args[1]]
        if axis == 0:
            raise UnknownOperator("picking an entry of a batch is not supported")
        self._append("select", (source,), output, (("axis", axis), ("index", index)))

    def slice(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, axis, start, end, *step = args
        if output.shape == source.shape:
            self._view(source, output)
            return
        axis %= source.dim()
        if axis == 0:
            raise UnknownOperator("taking a part of a batch is not supported")
        start, end, stride = slice(start, end, *step).indices(source.shape[axis])
        attributes: tuple[tuple[str, Attribute], ...] = (
            ("axis", axis),
            ("start", start),
            ("end", end),
            ("step", stride),
        )
        self._append("slice", (source,), output, attributes)

    def clip(self, args: tuple[Any, ...], output: Tensor) -> None:
        low, high = (float(bound) for bound in (args[1:] or (-1.0, 1.0)))
        self._append("clip", args[:1], output, (("min", low), ("max", high)))

    def _layer_norm(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, shape, scale, shift, epsilon = args
        if scale is None or shift is None:
            raise UnknownOperator("layer normalisation without scale and shift is not supported")
        attributes: tuple[tuple[str, Attribute], ...] = (("axis", source.dim() - len(shape)), ("epsilon", epsilon))
        weights = (tuple(scale.shape), tuple(shift.shape))
        self._append("layer_norm", (source,), output, attributes, weights, self._constants(scale, shift))

    def _group_norm(self, args: tuple[Any, ...], output: Tensor) -> None:
        source, scale, shift, *_, groups, epsilon = args
        if scale is None or shift is None:
            raise UnknownOperator("group normalisation without scale and shift is not supported")
        attributes: tuple[tuple[str, Attribute], ...] = (("groups", groups), ("epsilon", epsilon))
        weights = (tuple(scale.shape), tuple(shift.shape))
        self._append("group_norm", (source,), output, attributes, weights, self._constants(scale, shift))

    def _batch_norm(self, args: tuple[Any, ...], output: Tensor) -> None:
        """Fold into the convolution before it, as every runtime does; otherwise it stays an operator."""
        source, scale, shift = args[:3]
        parameters = self._constants(scale, shift)
        number = self._number(source)
        index = number - self.first
        producer = self.ops[index] if index >= 0 else None
        if producer is None or producer.kind != "conv" or any(number in op.inputs for op in self.ops):
            channels = (int(source.shape[1]),)
            self._append("batch_norm", (source,), output, (), (channels, channels), parameters)
            return
        weight = producer.weights[0]
        self.ops[index] = Op(
            producer.kind,
            producer.inputs,
            producer.outputs,
            producer.shapes,
            (weight, weight[:1]),
            producer.attributes,
            producer.parameters + parameters,
        )
        self.tensors.append(output)
        del self.number[id(source)]
        self.number[id(output)] = number


def _pair(sizes: Any) -> tuple[int, int]:
    height, *width = sizes
    return int(height), int(width[0] if width else height)


def _tensors(args: tuple[Any, ...]) -> list[Tensor]:
    """The tensors among arguments, some of which may be lists."""
    flat = [item for arg in args for item in (arg if isinstance(arg, tuple | list) else (arg,))]
    return [item for item in flat if isinstance(item, Tensor)]


def _run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What `func` returns; of those that torch decomposes in Python, which takes milliseconds, only the shape."""
    if func in _BATCH_NORMS or func is aten.native_group_norm.default:
        return args[0].new_empty(args[0].shape), args[0].new_empty(0), args[0].new_empty(0)
    if func in _ELEMENTWISE:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        return tensors[0].new_empty(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    return func(*args, **kwargs)


_HANDLERS: dict[Any, Callable[[_Recorder, tuple[Any, ...], Tensor], None]] = {
    aten.convolution.default: _Recorder.convolution,
    aten.addmm.default: _Recorder.linear,
    aten.mm.default: _Recorder.linear,
    aten.mean.dim: _Recorder.mean,
    aten.avg_pool2d.default: _Recorder.average_pool,
    aten.permute.default: _Recorder.transpose,
    aten.transpose.int: _Recorder.swap,
    aten.bmm.default: _Recorder.matmul,
    aten._softmax.default: _Recorder.softmax,
    aten.embedding.default: _Recorder.gather,
    aten.cat.default: _Recorder.concat,
    aten.select.int: _Recorder.select,
    aten.hardtanh.default: _Recorder.clip,
    aten.slice.Tensor: _Recorder.slice,
    aten.constant_pad_nd.default: _Recorder.pad,
}


def trace(module: nn.Module, input_shapes: tuple[Shape, ...], indices: bool = False) -> Workload:
    """The workload of `module` in evaluation mode.

    Args:
        module: a static module whose parameters are on the meta device; its result is a tensor or a tuple of them.
        input_shapes: shape of each positional input, batch included.
        indices: whether the inputs are indices (64-bit integers).

    Raises:
        UnknownOperator: when the module runs an operator whose cost is not known.
    """
    dtype = torch.int64 if indices else torch.float32
    inputs = tuple(torch.empty(shape, dtype=dtype, device="meta") for shape in input_shapes)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), _Recorder(module, inputs) as recorder:
            outputs = module(*inputs)
    finally:
        module.train(was_training)
    results = outputs if isinstance(outputs, tuple) else (outputs,)
    numbers = tuple(recorder.number[id(output)] for output in results)
    return Workload(tuple(recorder.ops), tuple(range(len(inputs))), numbers, input_shapes)
