"""Timing graphs of networks with mixers: ONNX Runtime, torch and the ONNX reference against each other and the network."""

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
from nas.testing.backends import EveryMixerOperator, every_mixer_operator


@pytest.mark.parametrize("batch", [1, 3])
def test_runtimes_agree_with_the_reference(batch: int) -> None:
    model = timing_graph(every_mixer_operator(), batch, seed=5)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal((batch, 4, 6, 6), dtype=np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"input0": x})
    assert expected.shape == (batch, 4, 4, 3)
    assert expected.std() > 0.01
    (in_torch,) = OnnxInTorch(onnx.load_from_string(model))(torch.from_numpy(x))
    for found in (in_torch.numpy(), OnnxRuntime().prepare(model).run({"input0": x})["output0"]):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_computes_what_the_network_does() -> None:
    model = timing_graph(every_mixer_operator(), 2, seed=1)
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    weights = {
        kind: [
            constants[name] for node in graph.node if node.op_type == kind for name in node.input if name in constants
        ]
        for kind in ("Mul", "Add", "MatMul")
    }
    network = EveryMixerOperator().eval()
    scale, thirty, minus, factor = weights["Mul"]
    assert (thirty, minus) == (30, -1)
    with torch.no_grad():
        network.norm.weight.copy_(scale.flatten())
        network.norm.bias.copy_(weights["Add"][0].flatten())
        network.maps.copy_(weights["MatMul"][0])
        network.shift.copy_(factor.log())
        x = torch.randn(2, 4, 6, 6)
        expected = network(x)
    found = OnnxRuntime().prepare(model).run({"input0": x.numpy()})["output0"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
