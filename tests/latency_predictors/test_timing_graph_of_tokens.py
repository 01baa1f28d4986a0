"""Timing graphs of networks that read tokens: ONNX Runtime, torch and the ONNX reference against each other."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from latency_predictors.devices import parity
from latency_predictors.devices.backend import Backend
from latency_predictors.devices.inputs import random_inputs
from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from latency_predictors.devices.torch import Torch
from latency_predictors.devices.unfolded import unfolded
from nas.testing.backends import every_token_operator
from search_spaces import Workload


@pytest.fixture(scope="module")
def workload() -> Workload:
    return every_token_operator()


@pytest.mark.parametrize("batch", [1, 3])
def test_runtimes_agree_with_the_reference(workload: Workload, batch: int) -> None:
    model = timing_graph(workload, batch, seed=5)
    onnx.checker.check_model(model, full_check=True)
    tokens = np.random.default_rng(0).integers(0, 20, (batch, 3))
    (expected,) = ReferenceEvaluator(model).run(None, {"input0": tokens})
    assert expected.shape == (batch, 2, 3, 4)
    assert expected.std() > 0.01
    (in_torch,) = OnnxInTorch(onnx.load_from_string(model))(torch.from_numpy(tokens))
    for found in (in_torch.numpy(), OnnxRuntime().prepare(model).run({"input0": tokens})["output0"]):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", [OnnxRuntime(), Torch()], ids=lambda backend: backend.title)
def test_zeros_are_inputs_to_time_with(workload: Workload, backend: Backend) -> None:
    model = timing_graph(workload)
    session = backend.prepare(model)
    inputs = random_inputs(session, np.random.default_rng(0))
    assert inputs["input0"].dtype == np.int64
    parity.check(backend, session, model, inputs)


def test_operators_and_weights_are_those_of_the_workload(workload: Workload) -> None:
    graph = onnx.load_from_string(timing_graph(workload, batch=2)).graph
    kinds = {"gather": "Gather", "layer_norm": "LayerNormalization", "softmax": "Softmax", "concat": "Concat"}
    kinds |= {
        "select": "Gather",
        "mul": "Mul",
        "matmul": "MatMul",
        "linear": "MatMul Add",  # as of every tensor with more than two dimensions
        "transpose": "Transpose",
        "reshape": "Reshape",
        "add": "Add",
    }
    written = [node.op_type for node in graph.node if node.op_type != "Identity"]
    assert written == [kind for op in unfolded(workload) for kind in kinds[op.kind].split()]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert tuple(graph.initializer[0].dims) == (20, 8)
