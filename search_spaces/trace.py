"""Reading the workload off a module by running it on the meta device: no arithmetic is done, no memory is used."""

from __future__ import annotations

from collections.abc import Mapping
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
    """What `func` returns; of those that torch decomposes in Python, which takes milliseconds, only the shape."""
    if func in BATCH_NORMS or func is aten.native_group_norm.default:
        return args[0].new_empty(args[0].shape), args[0].new_empty(0), args[0].new_empty(0)
    if func in ELEMENTWISE:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        return tensors[0].new_empty(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    return func(*args, **kwargs)


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
