"""Mixers of the family of linear attention: the whole against a prompt and single steps, elastic against static, and
what a workload of them is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from latency_predictors.devices.onnx_in_torch import OnnxInTorch
from latency_predictors.devices.timing_graph import timing_graph
from search_spaces.elastic import ElasticLayer, ElasticLayers
from search_spaces.elastic.layer import copy_active
from search_spaces.layers import Layers
from search_spaces.slm.based import Based
from search_spaces.slm.delta_net import DeltaNet
from search_spaces.slm.gated_delta_net import GatedDeltaNet
from search_spaces.slm.gated_linear_attention import GatedLinearAttention
from search_spaces.slm.mamba2 import Mamba2
from search_spaces.slm.mixer import Mixer
from search_spaces.slm.retnet import RetNet
from search_spaces.trace import trace

MIXERS: list[Any] = [GatedLinearAttention, Mamba2, GatedDeltaNet, DeltaNet, RetNet, Based]
LARGE = {"width": 12, "heads": 2, "state": 4}
SMALL = {"width": 8, "heads": 2, "state": 3}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def perturbed(mixer: Any) -> Any:
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return mixer.eval()


def one_by_one(mixer: Mixer, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    outputs = []
    for token in x.split(1, dim=1):
        output, *state = mixer.step(token, *state)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


def nothing(kind: Any, arguments: dict[str, int], n: int) -> list[Tensor]:
    return [torch.zeros(n, *shape[1:]) for shape in kind.state_shapes(arguments, 1)]


@pytest.mark.parametrize("kind", MIXERS)
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_the_whole_is_a_prompt_and_single_steps(kind: Any, tokens: int) -> None:
    mixer, x = perturbed(kind(Layers(), **LARGE)), torch.randn(2, tokens + 5, 12)
    with torch.no_grad():
        whole = mixer(x)
        prompt, *state = mixer.prefill(x[:, :tokens])
        rest, last = one_by_one(mixer, x[:, tokens:], state)
        steps, end = one_by_one(mixer, x, nothing(kind, LARGE, 2))
    torch.testing.assert_close(torch.cat([prompt, rest], dim=1), whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)
    for found, other, shape in zip(last, end, kind.state_shapes(LARGE, tokens), strict=True):
        assert found.shape[1:] == shape[1:]
        torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", MIXERS)
def test_elastic_is_static(kind: Any) -> None:
    elastic = perturbed(kind(ElasticLayers(()), **LARGE))
    static = kind(Layers(), **SMALL).eval()
    for name, layer in elastic.named_modules():
        if isinstance(layer, ElasticLayer):
            layer.activate(static.get_submodule(name))
    copy_active(elastic, static)
    x = torch.randn(2, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(elastic(x), static(x))
        for found, expected in zip(elastic.prefill(x), static.prefill(x), strict=True):
            torch.testing.assert_close(found, expected)
        state = nothing(kind, SMALL, 2)
        for found, expected in zip(elastic.step(x[:, :1], *state), static.step(x[:, :1], *state), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", MIXERS)
def test_a_head_of_the_subnet_is_the_beginning_of_that_of_the_supernet(kind: Any) -> None:
    """Not some other part of the weights: rows of the second head begin where those of the largest one do."""
    elastic, static = kind(ElasticLayers(()), **LARGE), kind(Layers(), **SMALL)
    elastic.value.activate(static.value)
    largest, small = (kind.state_shapes(arguments, 1)[0][-1] for arguments in (LARGE, SMALL))
    extra = int(kind is Based)  # the sum of the weights beside the values
    rows = [*range(small - extra), *range(largest - extra, largest + small - 2 * extra)]
    torch.testing.assert_close(elastic.value.active_state()["weight"], elastic.value.weight[rows, :8].detach())


@pytest.mark.parametrize("kind", MIXERS)
def test_gradients_reach_all_weights_in_bfloat16(kind: Any) -> None:
    mixer, x = kind(Layers(), **LARGE), torch.randn(2, 20, 12)
    expected = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = mixer(x)
    assert (found.float() - expected).norm() < 0.05 * expected.norm()
    found.float().square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", MIXERS)
@pytest.mark.parametrize("method", ["prefill", "step"])
def test_workload(kind: Any, method: str) -> None:
    with torch.device("meta"):
        mixer = kind(Layers(), **LARGE)
    tokens, state = (40, ()) if method == "prefill" else (1, kind.state_shapes(LARGE, 1))
    workload = trace(mixer, ((1, tokens, 12), *state), method=method)
    assert workload.parameters == sum(parameter.numel() for parameter in mixer.parameters())
    shapes = {number: op.output_shape for op in workload.ops for number in op.outputs}
    found = [shapes[number] for number in workload.outputs]
    assert found == [(1, tokens, 12), *kind.state_shapes(LARGE, tokens)]
    assert workload.macs >= tokens * sum(p.numel() for p in mixer.parameters() if p.dim() == 2 and 12 in p.shape) // 2
    model = timing_graph(workload, batch=2)
    session = onnxruntime.InferenceSession(model)
    feeds = {
        f"input{index}": 0.1 * torch.randn(2, *shape[1:]).numpy() for index, shape in enumerate(workload.input_shapes)
    }
    outputs = session.run(None, feeds)
    assert [output.shape[1:] for output in outputs] == [shape[1:] for shape in found]
    others = OnnxInTorch(onnx.load_from_string(model))(*map(torch.from_numpy, feeds.values()))
    assert all(np.isfinite(output).all() for output in outputs)
    for output, other, reference in zip(outputs, others, ReferenceEvaluator(model).run(None, feeds), strict=True):
        tolerance = 1e-4 * np.abs(reference).max()
        np.testing.assert_allclose(output, reference, rtol=1e-3, atol=tolerance)
        np.testing.assert_allclose(other.numpy(), reference, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("kind", MIXERS)
def test_heads_that_share_a_width_unequally_raise(kind: Any) -> None:
    with pytest.raises(ValueError, match="a width of 13 gives 4 heads no values of equal size"):
        kind(Layers(), 13, 4, 4)
    wide = kind(Layers(), 13, 4, 4, value_width=3)
    assert wide(torch.randn(1, 3, 13)).shape == (1, 3, 13)
