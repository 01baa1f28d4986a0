"""Elastic layers of hybrid networks, against torch's layers whose weights were picked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic import ElasticConv2d, ElasticConvTranspose2d, ElasticGroupNorm, ElasticLayer, ElasticLayers
from search_spaces.layers import Layers


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def check(layer: ElasticLayer, template: nn.Module, expected: Tensor, x: Tensor) -> None:
    """`layer`, activated as `template`, computes `expected`, and its state makes the template do so."""
    layer.activate(template)
    torch.testing.assert_close(layer(x), expected)
    template.load_state_dict(layer.active_state())
    torch.testing.assert_close(template(x), expected)


@pytest.mark.parametrize(("i", "o"), [(12, 8), (12, 4), (8, 8), (6, 2)])
@pytest.mark.parametrize("kernel", [2, 3])
def test_a_fixed_number_of_groups_keeps_the_first_channels_of_each(i: int, o: int, kernel: int) -> None:
    layer = ElasticConv2d(12, 8, (kernel,), groups=2)
    rows = [*range(o // 2), *range(4, 4 + o // 2)]
    x, padding = torch.randn(2, i, 5, 5), kernel // 2 if kernel % 2 else 0
    expected = F.conv2d(x, layer.weight[rows, : i // 2], padding=padding, groups=2)
    check(layer, Layers().conv(i, o, kernel, groups=2), expected, x)


@pytest.mark.parametrize(("i", "o"), [(5, 12), (5, 6), (3, 9), (2, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_parts_keep_the_first_channels_of_each(i: int, o: int, bias: bool) -> None:
    layer = ElasticLayers(()).conv(5, 12, bias=bias, parts=3)
    rows = [part * 4 + channel for part in range(3) for channel in range(o // 3)]
    x = torch.randn(2, i, 4, 4)
    weight, offset = layer.get_parameter("weight"), layer.get_parameter("bias")[rows] if bias else None
    assert isinstance(layer, ElasticLayer)
    check(layer, Layers().conv(i, o, bias=bias, parts=3), F.conv2d(x, weight[rows, :i], offset), x)


@pytest.mark.parametrize(("i", "o"), [(6, 4), (3, 4), (6, 1), (2, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 1), (8, 4)])
def test_conv_transpose(i: int, o: int, kernel: int, stride: int) -> None:
    layer = ElasticConvTranspose2d(6, 4, kernel, stride)
    x = torch.randn(2, i, 3, 5)
    weight, bias = layer.weight[:i, :o], layer.bias[:o]
    expected = F.conv_transpose2d(x, weight, bias, stride, padding=(kernel - stride) // 2)
    assert expected.shape == (2, o, 3 * stride, 5 * stride)
    check(layer, Layers().conv_transpose(i, o, kernel, stride), expected, x)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (nn.ConvTranspose2d(7, 4, 4, 2, padding=1), "in_channels = 7 is more than the 6"),
        (nn.ConvTranspose2d(6, 5, 4, 2, padding=1), "out_channels = 5 is more than the 4"),
        (nn.ConvTranspose2d(6, 4, 4, 2), "cannot become"),
        (nn.ConvTranspose2d(6, 4, 4, 2, padding=1, groups=2), "cannot become"),
        (nn.Conv2d(6, 4, 4, 2, padding=1), "cannot become"),
    ],
)
def test_transposed_templates_that_do_not_fit_raise(template: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticConvTranspose2d(6, 4, 4, 2).activate(template)


@pytest.mark.parametrize("channels", [6, 3, 1])
def test_group_norm(channels: int) -> None:
    layer = ElasticGroupNorm(6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, channels, 4, 5)
    mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
    scale, shift = (tensor[:channels, None, None] for tensor in (layer.weight, layer.bias))
    check(layer, Layers().group_norm(channels), (x - mean) / (var + 1e-5).sqrt() * scale + shift, x)


@pytest.mark.parametrize(
    "template", [nn.GroupNorm(1, 7), nn.GroupNorm(2, 6), nn.GroupNorm(1, 6, 1e-3), nn.LayerNorm(6)]
)
def test_normalisations_that_do_not_fit_raise(template: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"channels = 7 is more|cannot become"):
        ElasticGroupNorm(6).activate(template)
