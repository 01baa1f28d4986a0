"""Timing graphs of hybrid networks: ONNX Runtime, torch and the ONNX reference against each other and torch's layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.export.onnx_model import to_onnx
from nas.testing.backends import EveryHybridOperator, every_hybrid_operator
from search_spaces import Workload


@pytest.fixture(scope="module")
def workload() -> Workload:
    return every_hybrid_operator()


@pytest.mark.parametrize("batch", [1, 3])
def test_runtimes_agree_with_the_reference(workload: Workload, batch: int) -> None:
    model = timing_graph(workload, batch, seed=5)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal((batch, 6, 5, 7), dtype=np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"input0": x})
    assert expected.shape == (batch, 8, 5, 7)
    assert expected.std() > 0.01
    (in_torch,) = OnnxInTorch(onnx.load_from_string(model))(torch.from_numpy(x))
    for found in (in_torch.numpy(), OnnxRuntime().prepare(model).run({"input0": x})["output0"]):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_computes_what_the_network_does(workload: Workload) -> None:
    model = timing_graph(workload, 2, seed=1)
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}

    def weights(kind: str) -> list[list[torch.Tensor]]:
        nodes = [node for node in graph.node if node.op_type == kind]
        return [[constants[name] for name in node.input if name in constants] for node in nodes]

    network = EveryHybridOperator().eval()
    state = network.state_dict()
    ((state["small.weight"],), (transposed, depthwise)) = weights("Conv")[0], weights("ConvTranspose")
    state["large.weight"], state["large.bias"] = transposed
    (state["depthwise.weight"],) = depthwise
    shifts = [constant.flatten() for node in weights("Add") for constant in node if constant.dim() == 3]
    for name, (scale,), shift in zip(("norm", "halves"), weights("Mul"), shifts, strict=True):
        state |= {f"{name}.weight": scale.flatten(), f"{name}.bias": shift}
    network.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 7), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    found = OnnxRuntime().prepare(model).run({"input0": x})["output0"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_operators_are_those_of_the_workload(workload: Workload) -> None:
    graph = onnx.load_from_string(timing_graph(workload, batch=2)).graph
    norm = ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"]
    kinds = {"conv": ["Conv"], "conv_transpose": ["ConvTranspose"], "slice": ["Slice"], "pad": ["Pad"], "add": ["Add"],
             "relu": ["Relu"]}  # fmt: skip
    kinds |= {"upsample": ["Resize"], "concat": ["Concat"], "group_norm": norm}
    written = [node.op_type for node in graph.node if node.op_type != "Identity"]
    assert written == [kind for op in workload.ops for kind in kinds[op.kind]]


def test_the_operators_that_cost_something_are_those_of_the_export(workload: Workload) -> None:
    exported = onnx.load_from_string(to_onnx(EveryHybridOperator().eval(), {"images": torch.randn(1, 6, 5, 7)}))
    graphs = (exported.graph, onnx.load_from_string(timing_graph(workload)).graph)
    free = {"Reshape", "Shape", "Identity"}
    export, timing = (sorted(node.op_type for node in graph.node if node.op_type not in free) for graph in graphs)
    assert export == timing
