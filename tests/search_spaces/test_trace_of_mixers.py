"""Tracing operators of mixers, and what is computed from constants alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.trace import UnknownOperator, trace
from search_spaces.workload import Op, Shape, Workload


class Function(nn.Module):
    """A function of inputs and of three parameters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.stack = nn.Parameter(torch.zeros(3, 5, 7))
        self.vector = nn.Parameter(torch.zeros(5))
        self.register_buffer("fixed", torch.zeros(5))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, self)


def traced(function: Callable[..., Tensor], *shapes: Shape) -> Workload:
    return trace(Function(function).to("meta"), shapes)


def only(workload: Workload) -> Op:
    (op,) = workload.ops
    return op


@pytest.mark.parametrize(("kind", "function"), [("exp", torch.exp), ("softplus", F.softplus)])
def test_elementwise(kind: str, function: Callable[[Tensor], Tensor]) -> None:
    assert only(traced(lambda x, _: function(x), (2, 3))) == Op(kind, (0,), (1,), ((2, 3), (2, 3)))


def test_difference() -> None:
    op = only(traced(lambda x, y, _: x - y, (2, 3, 4), (3, 1)))
    assert op == Op("sub", (0, 1), (2,), ((2, 3, 4), (3, 1), (2, 3, 4)))


@pytest.mark.parametrize(
    ("function", "shape", "bounds"),
    [
        (lambda x, _: x[:, 1:3], (1, 2, 8), (1, 1, 3, 1)),
        (lambda x, _: x[..., ::2], (1, 5, 4), (2, 0, 8, 2)),
        (lambda x, _: x[..., -3:], (1, 5, 3), (2, 5, 8, 1)),
        (lambda x, _: x[:, :-1], (1, 4, 8), (1, 0, 4, 1)),
    ],
)
def test_slice(function: Callable[..., Tensor], shape: Shape, bounds: tuple[int, ...]) -> None:
    op = only(traced(function, (1, 5, 8)))
    attributes = tuple(zip(("axis", "start", "end", "step"), bounds, strict=True))
    assert op == Op("slice", (0,), (1,), ((1, 5, 8), shape), (), attributes)
    read_and_written = 2 * 4 * shape[1] * shape[2]
    assert op.costs() == dict.fromkeys(op.costs(), 0) | {"kernels": 1, "activation_bytes": read_and_written}


def test_a_slice_of_everything_is_no_operator() -> None:
    assert [op.kind for op in traced(lambda x, _: torch.relu(x[:, :, :9]), (1, 5, 8)).ops] == ["relu"]


def test_a_part_of_the_batch_raises() -> None:
    with pytest.raises(UnknownOperator, match="a part of a batch"):
        traced(lambda x, _: x[:1], (2, 3))


def test_pad() -> None:
    op = traced(lambda x, _: torch.relu(F.pad(x, (1, 2, 3, 4))), (1, 2, 5, 6)).ops[0]
    assert op == Op("pad", (0,), (1,), ((1, 2, 5, 6), (1, 2, 12, 9)), (), (("padding", (3, 1, 4, 2)),))


@pytest.mark.parametrize(
    "function", [lambda x, _: 1 + F.pad(x, (1, 0)), lambda x, _: 1 + F.pad(x, (1, 0, 0, 0), value=2.0)]
)
def test_other_padding_raises(function: Callable[..., Tensor]) -> None:
    with pytest.raises(UnknownOperator, match="other dimensions than height and width, or not with zeros"):
        traced(function, (1, 2, 5, 6))


def test_group_norm() -> None:
    norm = nn.GroupNorm(2, 6, eps=1e-3)
    op = only(trace(norm.to("meta"), ((1, 6, 4, 5),)))
    shape = (1, 6, 4, 5)
    attributes = (("groups", 2), ("epsilon", 1e-3))
    assert op == Op("group_norm", (0,), (1,), (shape, shape), ((6,), (6,)), attributes, parameters=12)


def test_group_norm_without_scale_raises() -> None:
    with pytest.raises(UnknownOperator, match="without scale and shift"):
        trace(nn.GroupNorm(2, 6, affine=False).to("meta"), ((1, 6, 4, 5),))


def test_products_with_a_constant_stack() -> None:
    workload = traced(lambda x, module: x @ module.stack, (1, 3, 4, 5))
    assert [op.kind for op in workload.ops] == ["reshape", "matmul", "reshape"]
    op = workload.ops[1]
    assert op == Op("matmul", (1,), (2,), ((3, 4, 5), (3, 4, 7)), ((3, 5, 7),), (), parameters=105)
    assert op.macs == 3 * 4 * 5 * 7
    assert op.costs()["weight_bytes"] == 4 * 105


def test_what_is_computed_from_constants_is_a_constant() -> None:
    op = only(traced(lambda x, module: x * torch.exp(1 - module.vector), (1, 5)))
    assert op == Op("mul", (0,), (1,), ((1, 5), (1, 5)), ((5,),), (), parameters=5)
    op = only(traced(lambda x, module: x + torch.cat([module.vector[:2], -module.fixed[2:]]), (1, 5)))
    assert (op.weights, op.parameters) == (((5,),), 5)
    op = only(traced(lambda x, module: x * module.fixed.softmax(0), (1, 5)))
    assert (op.weights, op.parameters) == (((5,),), 0)


def test_a_parameter_that_is_read_twice_counts_once() -> None:
    workload = traced(lambda x, module: x * torch.sigmoid(module.vector) + x * (1 - module.vector), (1, 5))
    assert [op.kind for op in workload.ops] == ["mul", "mul", "add"]
    assert [op.parameters for op in workload.ops] == [5, 0, 0]
    assert [op.costs()["weight_bytes"] for op in workload.ops] == [20, 20, 0]
