"""What a network asks of a device: its operators with their shapes, and sums of their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    "macs_matmul",
    "weight_bytes",
    "activation_bytes",
)


@dataclass(frozen=True)
class Op:
    """One operator as a device executes it (batch normalisation is folded into its convolution).

    Attributes:
        kind: what it computes: `conv`, `conv_transpose`, `linear`, `relu`, `hardswish`, `hardsigmoid`, `clip`, `sigmoid`,
            `silu`, `gelu`, `exp`, `softplus`, `sqrt`, `pow`, `add`, `sub`, `rsub` (a number minus its input), `mul`, `div`,
            `zero` (zeros of the shape of its input), `mean`, `sum`, `cumsum`, `tril` (lower triangles, zeros above),
            `average_pool`, `max_pool`, `batch_norm`, `layer_norm`, `rms_norm`, `group_norm`, `softmax`, `matmul` (of stacks of matrices, one
            of which may be a constant: the second unless an attribute says that it comes first), `gather` (rows of a table by their numbers, which are its input),
            `concat` (those of its operands that are constants stand in the places that its attribute names), `select`
            (one entry of a dimension), `slice`, `pad` (height and width, with zeros), `upsample` (nearest pixel, whole factors),
            `expand` (dimensions of size 1 are repeated), `transpose` or `reshape`.
        inputs: numbers of the tensors that it reads.
        outputs: numbers of the tensors that it writes.
        shapes: shapes of `inputs`, then of `outputs`.
        weights: shapes of its constant tensors (weight, then bias when it has one).
        attributes: pairs of name and value, such as `("stride", (2, 2))`. The padding of a convolution is two numbers,
            vertical and horizontal, or four when its sides differ: above, left, below, right.
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
        if self.kind == "matmul":
            inner = self.weights[0] if ("constant_first", True) in self.attributes else self.shapes[0]
            return prod(self.output_shape) * inner[-1]
        if self.kind == "conv_transpose":
            return prod(self.shapes[0]) * prod(self.weights[0][1:])
        return prod(self.output_shape) * prod(self.weights[0][1:]) if self.kind == "conv" else 0

    @property
    def macs_kind(self) -> str:
        """Which column of `COSTS` its MACs belong to."""
        if self.kind in ("linear", "matmul"):
            return f"macs_{self.kind}"
        channels, per_group, *window = self.weights[0]  # of the outputs and the inputs; transposed the other way round
        groups = dict(self.attributes)["groups"]
        if groups == 1:
            return "macs_pointwise" if prod(window) == 1 else "macs_dense"
        return "macs_depthwise" if per_group == 1 and groups == channels else "macs_grouped"

    @property
    def idle_weight_bytes(self) -> int:
        """Of its constant tensors what it does not read, although it must be there: the other rows of a table."""
        return max(0, _bytes(self.weights[0]) - _bytes(self.output_shape)) if self.kind == "gather" else 0

    def costs(self) -> dict[str, int]:
        """Its share of every column of `COSTS`; a `reshape` costs nothing, a part (`gather`, `select`, `slice`) its size."""
        costs = dict.fromkeys(COSTS, 0)
        if self.kind == "reshape":
            return costs
        costs["kernels"] = 1
        part = self.kind in ("select", "slice")
        moved = (self.output_shape, self.output_shape) if part else self.shapes
        costs["activation_bytes"] = sum(map(_bytes, moved))
        costs["weight_bytes"] = sum(map(_bytes, self.weights)) - self.idle_weight_bytes
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
    def indices(self) -> frozenset[int]:
        """Those of `inputs` that are indices (64-bit integers), such as the numbers of tokens."""
        return frozenset(op.inputs[0] for op in self.ops if op.kind == "gather") & set(self.inputs)

    @property
    def idle_weight_bytes(self) -> int:
        """Constant tensors that are held but not read."""
        return sum(op.idle_weight_bytes for op in self.ops)

    def bytes_of(self, tensors: Sequence[int]) -> int:
        """Size of activations by their numbers."""
        size = self._sizes
        return sum(size[tensor] for tensor in tensors)

    @property
    def _sizes(self) -> dict[int, int]:
        """Bytes of every activation."""
        size = dict(zip(self.inputs, map(_bytes, self.input_shapes), strict=True))
        for op in self.ops:
            size.update(zip(op.outputs, map(_bytes, op.shapes[len(op.inputs) :]), strict=True))
        return size

    @property
    def peak_activation_bytes(self) -> int:
        """Largest sum of activations that are alive at once when run in this order, without reuse in place."""
        size = self._sizes
        last_use = {tensor: len(self.ops) for tensor in self.outputs}
        for step, op in enumerate(self.ops):
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


def chain(workloads: Sequence[Workload], states: Sequence[tuple[int, int]] | None = None) -> Workload:
    """Join workloads one after the other: the outputs of each are the inputs of the next.

    Args:
        workloads: of the parts of a network.
        states: for each of them how many of its inputs and of its outputs, the last ones, are state, such as the keys
            of earlier tokens: it comes from outside and leaves the network. There is none by default.

    Returns:
        Its inputs are those of the first part, then the state of all parts; its outputs likewise.

    Raises:
        ValueError: when there is none, or when two neighbours differ in the number of tensors they pass on.
    """
    if not workloads:
        raise ValueError("chain needs at least one workload")
    states = states or [(0, 0)] * len(workloads)
    first = len(workloads[0].inputs) - states[0][0]
    joined = _Chain(passed=tuple(range(first)), state=first, free=first + sum(read for read, _ in states))
    inputs, shapes = tuple(range(joined.free)), list(workloads[0].input_shapes[:first])
    left: list[int] = []
    for workload, (read, written) in zip(workloads, states, strict=True):
        taken = len(workload.inputs) - read
        if taken != len(joined.passed):
            raise ValueError(f"a workload takes {taken} tensors, the one before it gives {len(joined.passed)}")
        joined.append(workload, taken)
        shapes += workload.input_shapes[taken:]
        kept = len(joined.passed) - written
        left += joined.passed[kept:]
        joined.passed = joined.passed[:kept]
    return Workload(tuple(joined.ops), inputs, (*joined.passed, *left), tuple(shapes))


@dataclass
class _Chain:
    """The operators so far, the numbers of the tensors that the last workload gave, and the next free numbers: of state
    that comes from outside, and of results."""

    passed: tuple[int, ...]
    state: int
    free: int
    ops: list[Op] = field(default_factory=list)

    def append(self, workload: Workload, taken: int) -> None:
        """Add the operators of `workload`, whose first `taken` inputs are `passed`, and the others state."""
        last = self.state + len(workload.inputs) - taken
        number = dict(zip(workload.inputs, (*self.passed, *range(self.state, last)), strict=True))
        self.state = last
        for op in workload.ops:
            inputs = tuple(number[tensor] for tensor in op.inputs)
            outputs = tuple(range(self.free, self.free + len(op.outputs)))
            number.update(zip(op.outputs, outputs, strict=True))
            self.free += len(outputs)
            self.ops.append(replace(op, inputs=inputs, outputs=outputs))
        self.passed = tuple(number[tensor] for tensor in workload.outputs)
