"""Products of timing graphs are those of exported graphs."""

from __future__ import annotations

from collections import Counter

import onnx
from torch import Tensor, nn

import search_spaces
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.unfolded import unfolded
from nas.export.fixed_sizes import fixed
from nas.export.phase_graphs import PhaseGraphs
from search_spaces import Architecture, SearchSpace
from search_spaces.trace import trace
from search_spaces.workload import Workload


class Products(nn.Module):
    """A linear layer, and a product of two stacks of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x).relu()
        return y @ y.transpose(2, 3)


class Kept(nn.Module):
    """Reshapes that are no folds: one is read by somebody else, one moves columns to rows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(-1, 6)
        return self.linear(y).reshape(-1, 15) + y.sum(1).reshape(-1, 3).sum(1, keepdim=True)


def workload(network: nn.Module, *shape: int) -> Workload:
    return trace(network.to("meta"), (shape,))


def test_products_have_the_dimensions_of_the_module() -> None:
    traced = workload(Products(), 1, 2, 3, 6)
    assert Counter(op.kind for op in traced.ops)["reshape"] > 0
    ops = unfolded(traced)
    assert [(op.kind, op.shapes) for op in ops if op.kind != "transpose"] == [
        ("linear", ((1, 2, 3, 6), (1, 2, 3, 5))),
        ("relu", ((1, 2, 3, 5), (1, 2, 3, 5))),
        ("matmul", ((1, 2, 3, 5), (1, 2, 5, 3), (1, 2, 3, 3))),
    ]
    assert sum(op.macs for op in ops) == traced.macs == 2 * 3 * 6 * 5 + 2 * 3 * 3 * 5


def test_other_reshapes_stay() -> None:
    traced = workload(Kept(), 1, 3, 6)
    assert unfolded(traced) == traced.ops


def network() -> tuple[SearchSpace, Architecture]:
    """With a layer of each kind."""
    mixers = ["attention", "sliding_window", "short_convolution"]
    space = search_spaces.get(
        "hybrid-slm", vocabulary=11, prefill=[6], decode=[9], widths=[8], depths=[3], heads=2, kv_heads=[1], windows=[4],
        mixers=mixers, ratios=[1],
    )  # fmt: skip
    layers = {f"layer{number}_mixer": kind for number, kind in enumerate(mixers, 1)}
    values = {choice.name: choice.options[-1] for choice in space.choices} | layers
    return space, Architecture(space.name, tuple(values.items()))


def test_a_timing_graph_has_the_nodes_of_the_exported_one() -> None:
    """But for how it reshapes; and what is written once is not copied."""
    space, architecture = network()
    graphs = PhaseGraphs(space, architecture, space.build(architecture).eval())
    exported = graphs.export()
    for phase in ("prefill_6", "decode_9"):
        timed = onnx.load_from_string(timing_graph(space.workload(architecture, phase)))
        known = onnx.load_from_string(fixed(exported[phase.partition("_")[0]], graphs.sizes(phase)))
        assert kinds(timed) == kinds(known)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze"))
