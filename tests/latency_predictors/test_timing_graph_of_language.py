"""Timing graphs of language models: ONNX Runtime, torch and the ONNX reference against each other and the network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from nas.testing.backends import EveryLanguageOperator, every_language_operator


@pytest.mark.parametrize("batch", [1, 3])
def test_runtimes_agree_with_the_reference(batch: int) -> None:
    model = timing_graph(every_language_operator(), batch, seed=5)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).standard_normal((batch, 3, 5), dtype=np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"input0": x})
    assert expected.shape == x.shape
    assert expected.std() > 0.01
    (in_torch,) = OnnxInTorch(onnx.load_from_string(model))(torch.from_numpy(x))
    for found in (in_torch.numpy(), OnnxRuntime().prepare(model).run({"input0": x})["output0"]):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_operators_are_those_of_the_network() -> None:
    kinds = [op.kind for op in every_language_operator().ops if op.kind != "reshape"]
    assert kinds == [
        "rms_norm", "transpose", "matmul", "div", "add", "softmax", "mul", "add", "div", "tril", "cumsum", "matmul", "matmul",
        "add", "pow", "add", "sqrt", "add", "sum", "rsub", "expand", "add",
    ]  # fmt: skip
    assert EveryLanguageOperator()(torch.randn(2, 3, 5)).isfinite().all()
