"""Reading the workload off a module by running it on the meta device: no arithmetic is done, no memory is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from search_spaces.operators import ALLOCATIONS, BATCH_NORMS, ELEMENTWISE, HANDLERS, SHAPED, VIEWS, aten, elementwise
from search_spaces.recording import Recording, UnknownOperator
from search_spaces.workload import Shape, Workload

__all__ = ["UnknownOperator", "trace"]


class _Recorder(TorchDispatchMode):
    """Records every operator that runs under it."""

    def __init__(self, record: Recording) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = record

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes longer than all that is recorded here

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = _run(func, args, kwargs or {})
        if func in ALLOCATIONS:
            return output
        if func in SHAPED or (self.record.is_constant(args) and torch.Tag.nondeterministic_seeded not in func.tags):
            self.record.fold(args, output)
        elif func in VIEWS:
            self.record.view(args[0], output)
        elif func in ELEMENTWISE:
            elementwise(self.record, ELEMENTWISE[func], args, output)
        elif func in HANDLERS:
            HANDLERS[func](self.record, args, output)
        else:
            raise UnknownOperator(
                f"operator {func} has no entry in search_spaces/operators.py, so its cost is not known; add one"
            )
        return output


def _run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What `func` returns."""
    return _SHAPED.get(func, func)(*args, **kwargs)


def _normalised(x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(0), x.new_empty(0)


def _broadcast(*args: Any, **kwargs: Any) -> Tensor:
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    return tensors[0].new_empty(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))


def _mean(x: Tensor, dims: Sequence[int], keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    reduced = {dim % x.ndim for dim in dims or range(x.ndim)}
    kept = [1 if dim in reduced else size for dim, size in enumerate(x.shape) if keepdim or dim not in reduced]
    return x.new_empty(kept, dtype=dtype)


def _linear(bias: Tensor, x: Tensor, weight: Tensor, **scales: Any) -> Tensor:
    if x.shape[1] != weight.shape[0]:
        return aten.addmm.default(bias, x, weight, **scales)  # type: ignore[no-any-return]
    return x.new_empty((len(x), weight.shape[1]))


def _convolved(x: Tensor, weight: Tensor, *args: Any) -> Tensor:
    _, stride, padding, dilation, transposed, _, groups = args
    sizes = [
        (size + 2 * pad - step * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, pad, step in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    if transposed or min(sizes) < 1 or x.shape[1] != weight.shape[1] * groups:
        return aten.convolution.default(x, weight, *args)  # type: ignore[no-any-return]
    return x.new_empty((len(x), len(weight), *sizes))


#: The shapes alone of what torch computes in Python on the meta device: that takes milliseconds, and torch's compiler is imported
#: for it, which takes seconds.
_SHAPED: Mapping[Any, Any] = {
    **dict.fromkeys([*BATCH_NORMS, aten.native_group_norm.default, aten.native_layer_norm.default], _normalised),
    **dict.fromkeys(ELEMENTWISE, _broadcast),
    aten.mean.dim: _mean,
    aten.addmm.default: _linear,
    aten.convolution.default: _convolved,
}


def trace(
    module: nn.Module, input_shapes: tuple[Shape, ...], indices: bool = False, method: str = "forward"
) -> Workload:
    """The workload of `module` in evaluation mode.

    Args:
        module: a static module whose parameters are on the meta device; its result is a tensor or a tuple of them.
        input_shapes: shape of each positional input, batch included.
        indices: whether the first input holds indices (64-bit integers); the others are numbers.
        method: of the module, which runs.

    Raises:
        UnknownOperator: when the module runs an operator whose cost is not known.
    """
    dtypes = [torch.int64 if indices else torch.float32, *[torch.float32] * (len(input_shapes) - 1)]
    inputs = tuple(
        torch.empty(shape, dtype=dtype, device="meta") for shape, dtype in zip(input_shapes, dtypes, strict=True)
    )
    record = Recording(module, inputs)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), _Recorder(record):
            outputs = getattr(module, method)(*inputs)
    finally:
        module.train(was_training)
    results = outputs if isinstance(outputs, tuple) else (outputs,)
    numbers = tuple(record.number_of(output) for output in results)
    return Workload(tuple(record.ops), tuple(range(len(inputs))), numbers, input_shapes)
