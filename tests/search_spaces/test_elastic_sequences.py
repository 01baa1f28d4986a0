"""Elastic layers of sequences, against torch's layers whose weights were picked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic import ElasticCausalConv, ElasticLayer, ElasticLayers, ElasticLinear
from search_spaces.layers import Layers


def check(layer: nn.Module, template: nn.Module, expected: Tensor, x: Tensor) -> None:
    """`layer`, activated as `template`, computes `expected`, and its state makes the template do so."""
    assert isinstance(layer, ElasticLayer)
    layer.activate(template)
    torch.testing.assert_close(layer(x), expected)
    template.load_state_dict(layer.active_state())
    torch.testing.assert_close(template(x), expected)


@pytest.mark.parametrize(("i", "o"), [(12, 8), (9, 4), (6, 8), (3, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_in_parts(i: int, o: int, bias: bool) -> None:
    layers = ElasticLayers(())
    before = layers.linear(5, 12, parts=3)
    layer = layers.linear(12, 8, bias=bias, parts=2, follows=before)
    columns = [part * 4 + feature for part in range(3) for feature in range(i // 3)]
    rows = [part * 4 + feature for part in range(2) for feature in range(o // 2)]
    x, offset = torch.randn(2, 3, i), layer.get_parameter("bias")[rows] if bias else None
    expected = F.linear(x, layer.get_parameter("weight")[rows][:, columns], offset)
    check(layer, Layers().linear(i, o, bias=bias, parts=2), expected, x)


def test_features_that_parts_share_unequally_raise() -> None:
    with pytest.raises(ValueError, match="7 features cannot be laid out in 2 equal parts"):
        ElasticLinear(4, 7, parts=2)
    with pytest.raises(ValueError, match="5 features cannot be laid out in 2 equal parts"):
        ElasticLinear(4, 8, parts=2).activate(nn.Linear(4, 5))


@pytest.mark.parametrize("kernel", [2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_causal_conv_is_that_of_torch(kernel: int, bias: bool) -> None:
    layer, x = Layers().causal_conv(5, kernel, bias), torch.randn(2, 7, 5)
    weight = layer.weight.t().unsqueeze(1)
    expected = F.conv1d(x.transpose(1, 2), weight, layer.bias, padding=kernel - 1, groups=5)[..., :7].transpose(1, 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("tokens", [1, 2, 6])
def test_causal_conv_goes_on_from_its_state(tokens: int) -> None:
    layer, x = Layers().causal_conv(5, 4, bias=True), torch.randn(2, 8, 5)
    y, state = layer.prefill(x[:, :tokens])
    outputs = [y]
    for token in x[:, tokens:].split(1, dim=1):
        assert state.shape == (2, 3, 5)
        y, state = layer.step(token, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=1), layer(x))
    torch.testing.assert_close(state, x[:, -3:])


@pytest.mark.parametrize("blocks", [(4, 3), (4, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_elastic_causal_conv(blocks: tuple[int, int], bias: bool) -> None:
    layer = ElasticLayers(()).causal_conv((4, 3), 3, bias)
    channels = [*range(blocks[0]), *range(4, 4 + blocks[1])]
    template, x = Layers().causal_conv(blocks, 3, bias), torch.randn(2, 5, len(channels))
    padded = F.pad(x, (0, 0, 2, 0))
    expected = sum(padded[:, place : place + 5] * layer.weight[place, channels] for place in range(3))
    assert isinstance(expected, Tensor)
    check(layer, template, expected if layer.bias is None else expected + layer.bias[channels], x)


@pytest.mark.parametrize(
    ("blocks", "kernel", "bias", "message"),
    [
        ((4, 4), 3, False, "block1 = 4 is more than the 3"),
        ((4, 3), 2, False, "cannot become"),
        ((4,), 3, False, "cannot become"),
        ((4, 3), 3, True, "cannot become"),
    ],
)
def test_a_causal_conv_that_does_not_fit_raises(blocks: tuple[int, ...], kernel: int, bias: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticCausalConv((4, 3), 3).activate(Layers().causal_conv(blocks, kernel, bias))


def test_a_kernel_that_looks_at_one_token_raises() -> None:
    with pytest.raises(ValueError, match="a kernel of 2 or more, not 1"):
        Layers().causal_conv(4, 1)
