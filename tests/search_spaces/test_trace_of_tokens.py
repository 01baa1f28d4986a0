"""Tracing operators of networks that read tokens, and joining workloads that have state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.trace import UnknownOperator, trace
from search_spaces.workload import Op, Workload, chain


class Function(nn.Module):
    """A function, with a constant of shape (2, 3, 4)."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("constant", torch.zeros(2, 3, 4))

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs, *self.buffers())


def only(workload: Workload) -> Op:
    (op,) = workload.ops
    return op


def traced(function: Callable[..., object], *shapes: tuple[int, ...]) -> Workload:
    return trace(Function(function).to("meta"), shapes)


def test_products_of_stacks() -> None:
    workload = traced(lambda a, b, _: a @ b, (1, 2, 5, 3), (1, 2, 3, 7))
    kinds = [op.kind for op in workload.ops]
    assert [kind for kind in kinds if kind != "reshape"] == ["matmul"]
    op = workload.ops[kinds.index("matmul")]
    assert op.shapes == ((2, 5, 3), (2, 3, 7), (2, 5, 7))
    assert op.macs == 2 * 5 * 7 * 3
    assert op.costs() == dict.fromkeys(op.costs(), 0) | {
        "kernels": 1, "macs_matmul": 210, "activation_bytes": 4 * (30 + 42 + 70),
    }  # fmt: skip
    assert workload.costs()["kernels"] == 1


def test_product_with_a_constant_stack_before() -> None:
    op = only(traced(lambda x, constant: constant @ x, (2, 4, 5)))
    assert op == Op("matmul", (0,), (1,), ((2, 4, 5), (2, 3, 5)), ((2, 3, 4),), (("constant_first", True),))
    assert op.macs == 2 * 3 * 5 * 4
    assert op.costs()["weight_bytes"] == 4 * 24


def test_repeated_dimensions() -> None:
    op = only(traced(lambda x, _: x.expand(2, 3, 4), (2, 1, 4)))
    assert op == Op("expand", (0,), (1,), ((2, 1, 4), (2, 3, 4)))
    assert op.costs() == dict.fromkeys(op.costs(), 0) | {"kernels": 1, "activation_bytes": 4 * (8 + 24)}
    assert only(traced(lambda x, _: x.expand(1, 2, 3), (2, 3))).kind == "reshape"


@pytest.mark.parametrize(("keepdim", "shape"), [(True, (2, 1, 4)), (False, (2, 4))])
def test_sums_and_triangles(keepdim: bool, shape: tuple[int, ...]) -> None:
    op = only(traced(lambda x, _: x.sum(1, keepdim=keepdim), (2, 3, 4)))
    assert op == Op("sum", (0,), (1,), ((2, 3, 4), shape), (), (("axes", (1,)), ("keepdim", keepdim)))
    op = only(traced(lambda x, _: x.tril(-1), (2, 3, 4)))
    assert op == Op("tril", (0,), (1,), ((2, 3, 4), (2, 3, 4)), (), (("diagonal", -1),))
    op = only(traced(lambda x, _: x.cumsum(-1), (2, 3, 4)))
    assert op == Op("cumsum", (0,), (1,), ((2, 3, 4), (2, 3, 4)), (), (("axis", 2),))


@pytest.mark.parametrize(("dim", "axis"), [(-1, 2), (1, 1)])
def test_softmax(dim: int, axis: int) -> None:
    op = only(traced(lambda x, _: torch.softmax(x, dim), (2, 3, 4)))
    assert (op.kind, op.attributes, op.output_shape, op.macs) == ("softmax", (("axis", axis),), (2, 3, 4), 0)


@pytest.mark.parametrize(("shape", "axis"), [((4,), 2), ((3, 4), 1)])
def test_layer_norm(shape: tuple[int, ...], axis: int) -> None:
    norm = nn.LayerNorm(shape, eps=1e-6)
    op = only(trace(norm.to("meta"), ((2, 3, 4),)))
    assert (op.kind, op.weights, op.output_shape, op.macs) == ("layer_norm", (shape, shape), (2, 3, 4), 0)
    assert op.attributes == (("axis", axis), ("epsilon", 1e-6))
    assert op.parameters == sum(parameter.numel() for parameter in norm.parameters())


def test_layer_norm_without_scale_raises() -> None:
    with pytest.raises(UnknownOperator, match="without scale and shift"):
        trace(nn.LayerNorm(4, elementwise_affine=False).to("meta"), ((2, 4),))


def test_gather_reads_its_rows_only() -> None:
    workload = trace(nn.Embedding(100, 8).to("meta"), ((1, 5),), indices=True)
    op = only(workload)
    assert (op.kind, op.shapes, op.weights, op.parameters) == ("gather", ((1, 5), (1, 5, 8)), ((100, 8),), 800)
    assert op.costs()["weight_bytes"] == 4 * 5 * 8
    assert workload.costs()["weight_bytes"] + workload.idle_weight_bytes == 4 * 800
    assert workload.indices == {0}
    # More rows than the table has: all of it is read.
    assert trace(nn.Embedding(3, 8).to("meta"), ((1, 5),), indices=True).idle_weight_bytes == 0


@pytest.mark.parametrize(("dim", "axis"), [(0, 0), (-1, 2)])
def test_concat(dim: int, axis: int) -> None:
    op = only(traced(lambda a, b, _: torch.cat([a, b], dim), (2, 3, 4), (2, 3, 4)))
    shape = (4, 3, 4) if axis == 0 else (2, 3, 8)
    assert op == Op("concat", (0, 1), (2,), ((2, 3, 4), (2, 3, 4), shape), (), (("axis", axis),))
    assert op.costs()["activation_bytes"] == 4 * 2 * 48


class ClassToken(nn.Module):
    """A learned token before those of every image, and a constant one after them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, 1, 4))
        self.register_buffer("last", torch.zeros(1, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first.expand(x.shape[0], -1, -1), x, self.get_buffer("last")], dim=1)


def test_concat_with_constants() -> None:
    op = only(trace(ClassToken().to("meta"), ((1, 3, 4),)))
    shapes, weights = ((1, 3, 4), (1, 6, 4)), ((1, 1, 4), (1, 2, 4))
    attributes = (("axis", 1), ("constants", (0, 2)))
    assert op == Op("concat", (0,), (1,), shapes, weights, attributes, parameters=4)
    assert op.costs()["weight_bytes"] == 4 * 12
    assert op.costs()["activation_bytes"] == 4 * (12 + 24)


@pytest.mark.parametrize("index", [1, -2])
def test_select_reads_one_entry(index: int) -> None:
    op = only(traced(lambda x, _: x[:, index], (2, 3, 4)))
    assert op == Op("select", (0,), (1,), ((2, 3, 4), (2, 4)), (), (("axis", 1), ("index", 1)))
    assert op.costs() == dict.fromkeys(op.costs(), 0) | {"kernels": 1, "activation_bytes": 4 * 2 * 8}


def test_swapped_dimensions_are_transposed() -> None:
    op = only(traced(lambda x, _: x.transpose(-1, 1), (2, 3, 4, 5)))
    assert (op.kind, op.attributes, op.output_shape) == ("transpose", (("order", (0, 3, 2, 1)),), (2, 5, 4, 3))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (lambda x, _: x.cumsum(0), (2, 3, 4), "a cumulative sum over a batch"),
        (lambda x, _: x.tril(), (3, 4), "without a batch"),
        (lambda x, _: x.expand(5, 3, 4), (1, 3, 4), "repeating a batch"),
        (lambda x, _: x.expand(5, 3, 4), (3, 4), "repeating a batch"),
        (lambda x, constant: torch.cat([x, constant]), (2, 3, 4), "concatenation of a batch with a constant"),
        (lambda x, _: x[1], (2, 3, 4), "an entry of a batch"),
    ],
)
def test_what_a_batch_does_not_allow_raises(
    function: Callable[..., object], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UnknownOperator, match=message):
        traced(function, shape)


def test_a_table_that_is_no_constant_raises() -> None:
    def function(numbers: Tensor, constant: Tensor) -> Tensor:
        return nn.functional.embedding(numbers, torch.relu(numbers))

    with pytest.raises(UnknownOperator, match="a table that is not a constant"):
        trace(Function(function).to("meta"), ((1, 5),), indices=True)


def test_chain_takes_state_from_outside_and_gives_it_back() -> None:
    """Two running sums: each part reads a state of its own, and writes a new one."""
    first = traced(lambda x, s, _: (torch.relu(x), s + x), (1, 4), (1, 4))
    second = traced(lambda x, s, _: (torch.add(x, s), torch.mul(x, s)), (1, 4), (1, 4))
    last = traced(lambda x, _: torch.relu(x), (1, 4))
    joined = chain([first, second, last], [(1, 1), (1, 1), (0, 0)])
    assert [op.kind for op in joined.ops] == ["relu", "add", "add", "mul", "relu"]
    x, first_state, second_state = joined.inputs
    a, b, c, d, e = (op.outputs[0] for op in joined.ops)
    assert len({*joined.inputs, a, b, c, d, e}) == 8
    assert [set(op.inputs) for op in joined.ops] == [{x}, {x, first_state}, {a, second_state}, {a, second_state}, {c}]
    assert joined.outputs == (e, b, d)
    assert joined.input_shapes == ((1, 4),) * 3
    with pytest.raises(ValueError, match="takes 2 tensors, the one before it gives 1"):
        chain([first, second, last], [(1, 1), (0, 0), (0, 0)])
