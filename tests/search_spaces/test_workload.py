"""Sums, joins and the peak of memory, on workloads made by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search_spaces.trace import trace
from search_spaces.workload import BYTES_PER_VALUE, COSTS, Op, Workload, chain


def op(inputs: tuple[int, ...], output: int, sizes: dict[int, int]) -> Op:
    return Op("add", inputs, (output,), tuple((sizes[tensor],) for tensor in (*inputs, output)))


def brute_force_peak(workload: Workload, sizes: dict[int, int]) -> int:
    """At each step: all tensors that exist, and are still needed by this step, a later one, or the caller."""
    steps = [(step.inputs, step.outputs) for step in workload.ops]
    peaks = [sum(sizes[tensor] for tensor in workload.inputs)]
    for now in range(len(steps)):
        made = {*workload.inputs, *(t for _, outputs in steps[:now] for t in outputs)}
        needed = {*workload.outputs, *(t for inputs, _ in steps[now:] for t in inputs)}
        untouched = set(workload.inputs) if now == 0 else set()
        peaks.append(sum(sizes[tensor] for tensor in (made & needed) | untouched | set(steps[now][1])))
    return BYTES_PER_VALUE * max(peaks)


def test_peak_of_a_residual_block_by_hand() -> None:
    # input 0 (10) -> 1 (40) -> 2 (30); 3 (10) = 2 + 0: the input stays alive all the while
    sizes = {0: 10, 1: 40, 2: 30, 3: 10}
    ops = (op((0,), 1, sizes), op((1,), 2, sizes), op((2, 0), 3, sizes))
    workload = Workload(ops, (0,), (3,), ((10,),))
    assert workload.peak_activation_bytes == 4 * (10 + 40 + 30)
    without = Workload((*ops[:2], op((2,), 3, sizes)), (0,), (3,), ((10,),))
    assert without.peak_activation_bytes == 4 * (40 + 30)


@given(st.data())
def test_peak_against_brute_force(data: st.DataObject) -> None:
    n_inputs = data.draw(st.integers(1, 2))
    n_ops = data.draw(st.integers(1, 6))
    sizes = {tensor: data.draw(st.integers(1, 50)) for tensor in range(n_inputs + n_ops)}
    ops = []
    for step in range(n_ops):
        known = range(n_inputs + step)
        inputs = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
        ops.append(op(tuple(inputs), n_inputs + step, sizes))
    inputs = tuple(range(n_inputs))
    workload = Workload(tuple(ops), inputs, (n_inputs + n_ops - 1,), tuple((sizes[tensor],) for tensor in inputs))
    assert workload.peak_activation_bytes == brute_force_peak(workload, sizes)


def test_costs_are_sums_over_operators() -> None:
    conv = Op(
        "conv", (0,), (1,), ((1, 2, 4, 4), (1, 6, 4, 4)), ((6, 2, 1, 1), (6,)),
        (("stride", (1, 1)), ("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)), 18,
    )  # fmt: skip
    flat = Op("reshape", (1,), (2,), ((1, 6, 4, 4), (1, 96)))
    linear = Op("linear", (2,), (3,), ((1, 96), (1, 5)), ((96, 5),), (), 480)
    workload = Workload((conv, flat, linear), (0,), (3,), ((1, 2, 4, 4),))
    assert workload.costs() == {
        "kernels": 2,
        "macs_pointwise": 16 * 6 * 2,
        "macs_dense": 0,
        "macs_depthwise": 0,
        "macs_grouped": 0,
        "macs_linear": 480,
        "macs_matmul": 0,
        "weight_bytes": 4 * (12 + 6 + 480),
        "activation_bytes": 4 * (32 + 96 + 96 + 5),
    }
    assert tuple(workload.costs()) == COSTS
    assert workload.macs == 16 * 6 * 2 + 480
    assert workload.parameters == 498


def test_chain_is_the_trace_of_the_sequence() -> None:
    modules = [
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 5, 1, stride=2),
        nn.Sequential(nn.Hardswish(), nn.Flatten(), nn.Linear(45, 2)),
    ]
    shapes = [(1, 3, 6, 6), (1, 4, 6, 6), (1, 5, 3, 3)]
    parts = [trace(module.to("meta"), (shape,)) for module, shape in zip(modules, shapes, strict=True)]
    whole = trace(nn.Sequential(*modules), (shapes[0],))
    assert chain(parts) == whole
    assert chain(parts[:1]) == parts[0]
    assert whole.peak_activation_bytes == max(part.peak_activation_bytes for part in parts)


def test_chain_passes_outputs_on_by_their_order() -> None:
    sizes = dict.fromkeys(range(9), 7)
    fork = Workload((op((0,), 1, sizes), op((0,), 2, sizes)), (0,), (2, 1), ((7,),))
    join = Workload((op((0,), 2, sizes), op((2, 1), 3, sizes)), (0, 1), (3,), ((7,), (7,)))
    joined = chain([fork, join])
    assert [(o.inputs, o.outputs) for o in joined.ops] == [((0,), (1,)), ((0,), (2,)), ((2,), (3,)), ((3, 1), (4,))]
    assert (joined.inputs, joined.outputs) == ((0,), (4,))


def test_chain_of_a_slot_without_operators() -> None:
    nothing = Workload((), (0,), (0,), ((1, 3, 2, 2),))
    relu = trace(nn.ReLU(), ((1, 3, 2, 2),))
    assert chain([nothing, relu, nothing]) == relu


def test_chain_of_nothing_raises() -> None:
    with pytest.raises(ValueError, match="at least one workload"):
        chain([])


def test_chain_of_parts_that_do_not_fit_raises() -> None:
    add = trace(_Add(), ((1, 2), (1, 2)))
    relu = trace(nn.ReLU(), ((1, 2),))
    assert all(len(a.outputs) == len(b.inputs) for a, b in pairwise([add, relu]))
    with pytest.raises(ValueError, match="takes 2 tensors, the one before it gives 1"):
        chain([relu, add])


class _Add(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b
