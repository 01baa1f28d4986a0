"""Timing graphs of the phases of language models with every kind of mixer: ONNX Runtime against torch."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

import search_spaces
from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.onnxruntime import OnnxRuntime
from latency_predictors.devices.timing_graph import timing_graph
from search_spaces import SearchSpace
from search_spaces.slm.mixers import MIXERS


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "hybrid-slm",
        vocabulary=20,
        prefill=(37,),
        decode=(9,),
        widths=(8,),
        depths=(1,),
        heads=2,
        kv_heads=(1,),
        windows=(4,),
        states=(3,),
        ratios=(1,),
        meta_tokens=(2,),
        chunk=4,
    )


@pytest.mark.parametrize("mixer", MIXERS)
def test_runtimes_agree(space: SearchSpace, mixer: str) -> None:
    codes = space.codes([space.smallest()])
    column = [choice.name for choice in space.choices].index("layer1_mixer")
    codes[0, column] = space.choices[column].options.index(mixer)
    (network,) = space.architectures(codes)
    for phase in space.phases:
        model = onnx.load_from_string(timing_graph(space.workload(network, phase), batch=2))
        onnx.checker.check_model(model, full_check=True)
        rng = np.random.default_rng(0)
        tokens, *states = space.input_shapes(network, phase).values()
        inputs = {"input0": rng.integers(0, 20, (2, tokens[1]))}
        inputs |= {
            f"input{index}": rng.standard_normal((2, *shape[1:]), dtype=np.float32)
            for index, shape in enumerate(states, start=1)
        }
        found = OnnxRuntime().prepare(model.SerializeToString()).run(inputs)
        in_torch = OnnxInTorch(model)(*map(torch.from_numpy, inputs.values()))
        assert len(found) == len(in_torch) == len(space.workload(network, phase).outputs)
        for name, expected in zip(found, in_torch, strict=True):
            assert np.isfinite(found[name]).all()
            scale = float(expected.abs().max())
            np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4 * scale)
