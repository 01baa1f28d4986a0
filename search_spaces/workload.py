"""What a network asks of a device: its operators with their shapes, and sums of their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

Shape = tuple[int, ...]
Attribute = int | float | bool | tuple[int, ...]

BYTES_PER_VALUE = 4  # float32

#: The columns of `SearchSpace.features`: additive costs of one forward pass.
COSTS = (
    "kernels",
    "macs_pointwise",
    "macs_dense",
    "macs_depthwise",
    "macs_grouped",
    "macs_linear",
    "weight_bytes",
    "activation_bytes",
)


@dataclass(frozen=True)
class Op:
    """One operator as a device executes it (batch normalisation is folded into its convolution).

    Attributes:
        kind: what it computes: `conv`, `linear`, `relu`, `hardswish`, `hardsigmoid`, `clip`, `sigmoid`,
            `silu`, `gelu`, `add`, `mul`, `zero` (zeros of the shape of its input), `mean`, `average_pool`,
            `batch_norm`, `transpose` or `reshape`.
        inputs: numbers of the tensors that it reads.
        outputs: numbers of the tensors that it writes.
        shapes: shapes of `inputs`, then of `outputs`.
        weights: shapes of its constant tensors (weight, then bias when it has one).
        attributes: pairs of name and value, such as `("stride", (2, 2))`.
        parameters: trainable parameters of the torch modules that it stands for.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: tuple[Shape, ...]
    weights: tuple[Shape, ...] = ()
    attributes: tuple[tuple[str, Attribute], ...] = ()
    parameters: int = 0

    @property
    def output_shape(self) -> Shape:
        """Shape of the first output."""
        return self.shapes[len(self.inputs)]

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations; elementwise operators and poolings count none."""
        if self.kind == "linear":
            return prod(self.output_shape[:-1]) * prod(self.weights[0])
        return prod(self.output_shape) * prod(self.weights[0][1:]) if self.kind == "conv" else 0

    @property
    def macs_kind(self) -> str:
        """Which column of `COSTS` its MACs belong to."""
        if self.kind == "linear":
            return "macs_linear"
        out_channels, in_per_group, *window = self.weights[0]
        groups = dict(self.attributes)["groups"]
        if groups == 1:
            return "macs_pointwise" if prod(window) == 1 else "macs_dense"
        return "macs_depthwise" if in_per_group == 1 and groups == out_channels else "macs_grouped"

    def costs(self) -> dict[str, int]:
        """Its share of every column of `COSTS`; a `reshape` costs nothing."""
        costs = dict.fromkeys(COSTS, 0)
        if self.kind == "reshape":
            return costs
        costs["kernels"] = 1
        costs["activation_bytes"] = BYTES_PER_VALUE * sum(prod(shape) for shape in self.shapes)
        costs["weight_bytes"] = BYTES_PER_VALUE * sum(prod(shape) for shape in self.weights)
        if self.macs:
            costs[self.macs_kind] = self.macs
        return costs


@dataclass(frozen=True)
class Workload:
    """The operators of one network (or of one slot of it) in the order in which they run.

    Attributes:
        ops: the operators.
        inputs: numbers of the tensors that come from outside.
        outputs: numbers of the tensors that are the result.
        input_shapes: shapes of `inputs`.
    """

    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...] = field(default=())

    def costs(self) -> dict[str, int]:
        """Sums over all operators, by the names of `COSTS`."""
        total = dict.fromkeys(COSTS, 0)
        for op in self.ops:
            for name, value in op.costs().items():
                total[name] += value
        return total

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one forward pass."""
        return sum(op.macs for op in self.ops)

    @property
    def parameters(self) -> int:
        """Trainable parameters, batch normalisation included."""
        return sum(op.parameters for op in self.ops)

    @property
    def peak_activation_bytes(self) -> int:
        """Largest sum of activations that are alive at once when run in this order, without reuse in place."""
        size = dict(zip(self.inputs, map(_bytes, self.input_shapes), strict=True))
        last_use = {tensor: len(self.ops) for tensor in self.outputs}
        for step, op in enumerate(self.ops):
            size.update(zip(op.outputs, map(_bytes, op.shapes[len(op.inputs) :]), strict=True))
            for tensor in op.inputs:
                last_use[tensor] = max(step, last_use.get(tensor, 0))
        alive = set(self.inputs)
        peak = sum(size[tensor] for tensor in alive)
        for step, op in enumerate(self.ops):
            alive.update(op.outputs)
            peak = max(peak, sum(size[tensor] for tensor in alive))
            alive = {tensor for tensor in alive if last_use.get(tensor, -1) > step}
        return peak


def _bytes(shape: Shape) -> int:
    return BYTES_PER_VALUE * prod(shape)


def chain(workloads: Sequence[Workload]) -> Workload:
    """Join workloads one after the other: the outputs of each are the inputs of the next.

    Raises:
        ValueError: when there is none, or when two neighbours differ in the number of tensors they pass on.
    """
    if not workloads:
        raise ValueError("chain needs at least one workload")
    ops: list[Op] = []
    passed: tuple[int, ...] = tuple(range(len(workloads[0].inputs)))
    inputs, free = passed, len(passed)
    for workload in workloads:
        if len(workload.inputs) != len(passed):
            raise ValueError(f"a workload takes {len(workload.inputs)} tensors, the one before it gives {len(passed)}")
        number = dict(zip(workload.inputs, passed, strict=True))
        for op in workload.ops:
            for tensor in op.outputs:
                number[tensor] = free
                free += 1
            ops.append(
                Op(
                    op.kind,
                    tuple(number[tensor] for tensor in op.inputs),
                    tuple(number[tensor] for tensor in op.outputs),
                    op.shapes,
                    op.weights,
                    op.attributes,
                    op.parameters,
                )
            )
        passed = tuple(number[tensor] for tensor in workload.outputs)
    return Workload(tuple(ops), inputs, passed, workloads[0].input_shapes)
