"""Convolutions padded as TensorFlow does, against ONNX's own definition of SAME_UPPER."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn import functional as F

from latency_predictors.devices.timing_graph import timing_graph
from search_spaces.elastic import ElasticConv2d, ElasticLayers
from search_spaces.layers import Layers
from search_spaces.padding import SameConv2d
from search_spaces.trace import UnknownOperator, trace


def by_onnx(conv: nn.Conv2d, x: torch.Tensor) -> np.ndarray:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], strides=list(conv.stride), auto_pad="SAME_UPPER",
                          group=conv.groups)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(conv.weight.detach().numpy(), "w")],
    )  # fmt: skip
    (found,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])).run(
        None, {"x": x.numpy()}
    )
    return np.asarray(found)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (7, 10), (1, 2)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [2, 3])
def test_padding_is_same_upper(size: tuple[int, int], kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(4, 4, kernel, stride, groups=2, bias=False)
    x = torch.randn(2, 4, *size)
    with torch.no_grad():
        np.testing.assert_allclose(conv(x), by_onnx(conv, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [9, 8])
def test_an_elastic_convolution_is_padded_for_its_active_kernel(kernel: int, size: int) -> None:
    torch.manual_seed(0)
    layer = ElasticConv2d(6, 6, (3, 5), stride=2, groups=6, same=True)
    template = SameConv2d(4, 4, kernel, 2, groups=4, bias=False)
    layer.activate(template)
    template.load_state_dict(layer.active_state())
    x = torch.randn(2, 4, size, size)
    with torch.no_grad():
        np.testing.assert_allclose(layer(x), by_onnx(template, x), rtol=1e-5, atol=1e-6)


def test_a_layer_of_the_other_padding_is_refused() -> None:
    same, symmetric = SameConv2d(4, 4, 3, 2, bias=False), nn.Conv2d(4, 4, 3, 2, padding=1, bias=False)
    for layer, template in (
        (ElasticConv2d(4, 4, (3,), stride=2), same),
        (ElasticConv2d(4, 4, (3,), stride=2, same=True), symmetric),
    ):
        with pytest.raises(ValueError, match="cannot become"):
            layer.activate(template)


@pytest.mark.parametrize("layers", [Layers(), ElasticLayers([3])])
def test_conventions_are_those_of_the_adjusted_factory_alone(layers: Layers) -> None:
    adjusted = layers.adjusted(1e-3, "same")
    assert (adjusted.norm(4).eps, layers.norm(4).eps) == (1e-3, 1e-5)  # type: ignore[attr-defined]
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 1
    sums = []
    for factory in (adjusted, layers):
        conv = factory.conv(1, 1, 3, 2)
        nn.init.ones_(conv.get_parameter("weight"))
        sums.append(conv(x)[0, 0].tolist())
    # The windows begin at pixels 0 and 2, and with a zero in front at -1 and 1.
    assert sums == [[[1, 0], [0, 0]], [[1, 1], [1, 1]]]
    with pytest.raises(ValueError, match="padding is 'symmetric' or 'same', not 'valid'"):
        layers.adjusted(1e-3, "valid")


def test_the_padding_belongs_to_the_convolution() -> None:
    with torch.device("meta"):
        conv = SameConv2d(3, 8, 3, 2)
    (op,) = trace(conv, ((1, 3, 8, 7),)).ops
    assert op.kind == "conv"
    assert op.shapes == ((1, 3, 8, 7), (1, 8, 4, 4))
    # Height 8 wants one row of zeros at the end; width 7 one column on each side.
    assert dict(op.attributes)["padding"] == (0, 1, 1, 1)
    (even,) = trace(conv, ((1, 3, 7, 7),)).ops
    assert dict(even.attributes)["padding"] == (1, 1)


class Padded(nn.Module):
    """What reads an image with zeros, or another value, around it."""

    def __init__(self, reader: nn.Module, zeros: tuple[int, ...], value: float = 0.0) -> None:
        super().__init__()
        self.reader, self.zeros, self.value = reader, zeros, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.reader(F.pad(x, self.zeros, value=self.value))
        return result


@pytest.mark.parametrize(
    ("module", "known"),
    [
        (Padded(nn.Conv2d(3, 8, 3, device="meta"), (0, 1, 0, 1)), True),
        (Padded(nn.ReLU(), (0, 1, 0, 1)), False),
        (Padded(nn.Conv2d(3, 8, 3, device="meta"), (0, 1, 0, 1), 1.0), False),
        (Padded(nn.Conv2d(3, 8, 3, device="meta"), (0, 1)), False),
        (Padded(nn.Conv2d(3, 8, 3, padding=1, device="meta"), (0, 1, 0, 1)), False),
    ],
)
def test_padding_that_is_no_part_of_a_convolution_raises(module: Padded, known: bool) -> None:
    if known:
        assert dict(trace(module, ((1, 3, 8, 8),)).ops[0].attributes)["padding"] == (0, 0, 1, 1)
        return
    with pytest.raises(UnknownOperator, match="a padding that is no part of a convolution"):
        trace(module, ((1, 3, 8, 8),))


def test_a_timing_graph_has_the_four_sides() -> None:
    with torch.device("meta"):
        conv = SameConv2d(3, 8, 5, 2)
    model = onnx.load_from_string(timing_graph(trace(conv, ((1, 3, 8, 7),)), batch=2))
    onnx.checker.check_model(model, full_check=True)
    pads = [list(a.ints) for node in model.graph.node for a in node.attribute if a.name == "pads"]
    assert pads == [[1, 2, 2, 2]]
    (found,) = ReferenceEvaluator(model).run(None, {"input0": np.zeros((2, 3, 8, 7), np.float32)})
    assert np.asarray(found).shape == (2, 8, 4, 4)
