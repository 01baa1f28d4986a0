"""Operators that runtimes replace by one, recognised in what was recorded last."""

from __future__ import annotations

from torch import Tensor

from search_spaces.recording import Recording

#: What `search_spaces.rms_norm` consists of, before the product with its weight.
_NORM = ("pow", "mean", "add", "sqrt", "div")


def fuse_rms_norm(record: Recording, normalised: Tensor, weight: Tensor, output: Tensor) -> bool:
    """Whether the product of `normalised` with `weight` ends a normalisation by root mean square, and `rms_norm` now
    stands in the place of all of it."""
    ops = record.ops[-len(_NORM) :]
    if tuple(op.kind for op in ops) != _NORM or weight.shape != output.shape[-1:]:
        return False
    power, mean, add, root, divide = ops
    before = (power, mean, add, root)
    source = power.inputs[0]
    attributes = [dict(op.attributes) for op in ops]
    fits = (
        record.number.get(id(normalised)) == divide.outputs[0]
        and [op.inputs for op in (mean, add, root)] == [op.outputs for op in before[:3]]
        and divide.inputs == (source, root.outputs[0])
        and attributes[0]["constant"] == 2
        and attributes[1] == {"axes": (output.dim() - 1,), "keepdim": True}
        and not add.weights
    )
    if not fits:
        return False
    gone = {number for op in ops for number in op.outputs}
    for tensor, number in list(record.number.items()):
        if number in gone:
            del record.number[tensor]
    del record.ops[-len(_NORM) :]
    whole = next(tensor for tensor in record.tensors if record.number.get(id(tensor)) == source)
    epsilon = ("epsilon", attributes[2]["constant"])
    shapes = (tuple(weight.shape),)
    record.append("rms_norm", (whole,), output, (epsilon,), shapes, record.trainable_values(weight))
    return True
