"""Matrix products as an exported graph has them, of tensors that a trace shows folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from search_spaces.workload import Op, Workload

#: Dimensions, from the last one, that belong to the matrices of a product; those before them may be folded.
_MATRIX = {"linear": 1, "matmul": 2}


def unfolded(workload: Workload) -> tuple[Op, ...]:
    """The operators of a workload, without the reshapes around products that only fold leading dimensions.

    Torch computes a product of more than two (`linear`) or three (`matmul`) dimensions by a reshape of every operand, the
    product and a reshape of the result, and a trace has them all. An exporter writes one `MatMul`. Each node of a graph costs a
    runtime some microseconds, which is a third of the time of a small network that reads one token.

    Args:
        workload: as traced; it stays as it is.
    """
    makers = {number: op for op in workload.ops for number in op.outputs}
    readers = {number: op for op in workload.ops for number in op.inputs}
    uses = _uses(workload.ops, workload)
    found: list[Op] = []
    folds: set[int] = set()  # results of reshapes that follow a product
    for op in workload.ops:
        if op.outputs[0] in folds:
            continue
        after = readers.get(op.outputs[0])
        before = [makers.get(number) for number in op.inputs if number not in folds]
        if op.kind in _MATRIX and after is not None and uses[op.outputs[0]] == 1 and _is_folded(op, before, after):
            folds.add(after.outputs[0])
            op = _whole(op, [fold for fold in before if fold], after)
        found.append(op)
    uses = _uses(found, workload)
    return tuple(op for op in found if op.kind != "reshape" or uses[op.outputs[0]])


def _uses(ops: Sequence[Op], workload: Workload) -> Counter[int]:
    """How often each tensor is read, by operators and as a result."""
    return Counter([*(number for op in ops for number in op.inputs), *workload.outputs])


def _is_folded(op: Op, before: Sequence[Op | None], after: Op) -> bool:
    """Whether reshapes fold the leading dimensions of all operands, and one takes those of the result apart again."""
    matrix = _MATRIX[op.kind]
    leading = after.output_shape[:-matrix]
    if after.kind != "reshape" or after.output_shape[-matrix:] != op.output_shape[-matrix:]:
        return False
    if len(before) < len(op.inputs) or (op.kind == "matmul" and op.weights):
        return False
    return all(
        fold is not None and fold.kind == "reshape" and fold.shapes[0] == (*leading, *shape[-matrix:])
        for fold, shape in zip(before, op.shapes, strict=False)
    )


def _whole(op: Op, before: Sequence[Op], after: Op) -> Op:
    """The product of what was folded."""
    return replace(
        op,
        inputs=tuple(fold.inputs[0] for fold in before),
        outputs=after.outputs,
        shapes=(*(fold.shapes[0] for fold in before), after.output_shape),
    )
