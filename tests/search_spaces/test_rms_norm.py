"""RMS normalisation: torch's own, elastic, traced as one operator, exported so that ONNX Runtime makes one kernel of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from nas.export.onnx_model import to_onnx
from search_spaces.elastic import ElasticLayer, ElasticLayers
from search_spaces.layers import Layers
from search_spaces.trace import trace
from search_spaces.workload import Op


def norm(features: int, epsilon: float = 1e-6) -> nn.Module:
    made = Layers().rms_norm(features, epsilon)
    nn.init.normal_(made.get_parameter("weight"))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_that_of_torch(dtype: torch.dtype) -> None:
    x, mine = torch.randn(2, 3, 8).to(dtype), norm(8, 1e-3)
    theirs = nn.functional.rms_norm(x.float(), (8,), mine.get_parameter("weight"), 1e-3)
    torch.testing.assert_close(mine(x), theirs)


@pytest.mark.parametrize("features", [8, 5])
def test_an_elastic_one_normalises_the_first_entries(features: int) -> None:
    layer, template, x = ElasticLayers(()).rms_norm(8, 1e-3), norm(features, 1e-3), torch.randn(2, 3, features)
    assert isinstance(layer, ElasticLayer)
    nn.init.normal_(layer.get_parameter("weight"))
    layer.activate(template)
    theirs = nn.functional.rms_norm(x, (features,), layer.get_parameter("weight")[:features], 1e-3)
    torch.testing.assert_close(layer(x), theirs)
    template.load_state_dict(layer.active_state())
    torch.testing.assert_close(template(x), theirs)


@pytest.mark.parametrize("other", [norm(9), norm(8, 1e-2), nn.LayerNorm(8)])
def test_an_elastic_one_refuses_what_does_not_fit(other: nn.Module) -> None:
    layer = ElasticLayers(()).rms_norm(8)
    assert isinstance(layer, ElasticLayer)
    with pytest.raises(ValueError, match=r"cannot become|is more than"):
        layer.activate(other)


def test_it_is_traced_as_one_operator() -> None:
    workload = trace(nn.Sequential(norm(8), nn.ReLU()).to("meta"), ((1, 3, 8),))
    shape = (1, 3, 8)
    assert workload.ops[0] == Op("rms_norm", (0,), (1,), (shape, shape), ((8,),), (("epsilon", 1e-6),), 8)
    assert [op.kind for op in workload.ops] == ["rms_norm", "relu"]
    assert workload.ops[1].inputs == (1,)


class Function(nn.Module):
    """A function of a tensor and of a weight."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x / (x.pow(3).mean(-1, keepdim=True) + 1e-6).sqrt() * w,
        lambda x, w: x / (x.pow(2).mean(-2, keepdim=True) + 1e-6).sqrt() * w,
        lambda x, w: x / (x.pow(2).mean(-1, keepdim=True) + w).sqrt() * w,
        lambda x, w: x.relu() / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * w,
        lambda x, w: x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt() / x * w,
        lambda x, w: x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * w[:1],
    ],
)
def test_what_only_resembles_it_stays_as_it_is(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    kinds = [op.kind for op in trace(Function(function).to("meta"), ((1, 8, 8),)).ops]
    assert "rms_norm" not in kinds
    assert kinds[-1] == "mul"
    assert len(kinds) >= 6


def test_onnx_runtime_makes_one_kernel_of_it(tmp_path: Path) -> None:
    mine = norm(8).eval()
    content = to_onnx(mine, {"x": torch.randn(1, 3, 8)})
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds == ["SimplifiedLayerNormalization"]
    x = torch.randn(5, 3, 8)
    (found,) = session.run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, mine(x), rtol=1e-4, atol=1e-6)
