"""Ends and openings of the families of mixers, the transformer block, and chains of elastic length, against torch's own
functions."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.elastic import ElasticLayers
from search_spaces.elastic.layer import copy_active
from search_spaces.elastic.repeat import ElasticRepeat
from search_spaces.hybrid.ends import LayerNormHead
from search_spaces.hybrid.frequency_filter import FusedFilters
from search_spaces.hybrid.patches import PatchConvolution, PatchMerging
from search_spaces.hybrid.state_mixer import DepthwiseMerging
from search_spaces.hybrid.transformer import Transformer
from search_spaces.layers import Layers

LAYERS = Layers()
M = TypeVar("M", bound=nn.Module)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def scrambled(module: M) -> M:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def channel_norm(x: Tensor, norm: nn.Module) -> Tensor:
    """By the formula, over the channels of every pixel."""
    centred = x - x.mean(1, keepdim=True)
    y = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return y * norm.get_parameter("weight")[:, None, None] + norm.get_parameter("bias")[:, None, None]


@pytest.mark.parametrize(("kernel", "padding"), [(4, 0), (7, 3)])
@pytest.mark.parametrize(("size", "given"), [(8, 2), (9, 3), (11, 3)])
def test_patch_convolution(kernel: int, padding: int, size: int, given: int) -> None:
    module = scrambled(PatchConvolution(LAYERS, 3, 6, kernel, 4))
    x = torch.randn(2, 3, size, size)
    # Zeros that no kernel reaches change nothing.
    padded = F.pad(x, (0, -size % 4, 0, -size % 4)) if kernel == 4 else x
    convolved = F.conv2d(
        padded, module.project.get_parameter("weight"), module.project.get_parameter("bias"), 4, padding
    )
    assert convolved.shape[2:] == (given, given)
    torch.testing.assert_close(module(x), channel_norm(convolved, module.norm))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_patch_merging(stride: int, size: tuple[int, int]) -> None:
    module = scrambled(PatchMerging(LAYERS, 3, 5, stride))
    x = torch.randn(2, 3, *size)
    squares = F.pixel_unshuffle(F.pad(x, (0, size[1] % stride, 0, size[0] % stride)), stride)
    expected = F.conv2d(channel_norm(squares, module.norm), module.reduce.get_parameter("weight")[:, :, None, None])
    torch.testing.assert_close(module(x), expected)


def test_transformer() -> None:
    module = scrambled(Transformer(LAYERS, 12, 24))
    x = torch.randn(2, 12, 3, 4)
    normed = channel_norm(x, module.norm).flatten(2).transpose(1, 2)
    query, key, value = (
        part.unflatten(2, (8, 32)).transpose(1, 2)
        for part in F.linear(normed, module.qkv.get_parameter("weight")).chunk(3, dim=2)
    )
    attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    y = x + module.project(attended).transpose(1, 2).unflatten(2, (3, 4))
    hidden = F.gelu(module.mlp.expand(channel_norm(y, module.mlp.norm).permute(0, 2, 3, 1)))
    torch.testing.assert_close(module(x), y + module.mlp.project(hidden).permute(0, 3, 1, 2))


def test_layer_norm_head() -> None:
    module = scrambled(LayerNormHead(LAYERS, 6, 4))
    x = torch.randn(2, 6, 3, 5)
    expected = F.linear(
        channel_norm(x, module.norm).mean((2, 3)),
        module.classifier.get_parameter("weight"),
        module.classifier.get_parameter("bias"),
    )
    torch.testing.assert_close(module(x), expected)


def test_the_inverted_residual_of_merging_has_no_residual() -> None:
    """With depthwise convolutions that give nothing, and a projection that does not, nothing is left of the image."""
    module = DepthwiseMerging(LAYERS, 6, 6, 24, 1, 8).eval()
    with torch.no_grad():
        module.merge.project_norm.get_parameter("weight").zero_()
    assert not module(torch.randn(1, 6, 4, 4)).any()


def test_fused_filters_read_what_came_in() -> None:
    """Without the normalised blocks a 1x1 convolution of the image and zeros is left."""
    module = scrambled(FusedFilters(LAYERS, 8, 16, 4, 2))
    with torch.no_grad():
        for parameter in module.mix.norm.parameters():
            parameter.zero_()
    x = torch.randn(2, 8, 4, 4)
    convolved = F.conv2d(x, module.fuse.conv.get_parameter("weight")[:, :8])
    norm = module.fuse.norm
    scale = norm.get_parameter("weight") / (1 + norm.eps) ** 0.5
    expected = F.silu(convolved * scale[:, None, None] + norm.get_parameter("bias")[:, None, None])
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_elastic_chain_runs_its_first_blocks(count: int) -> None:
    elastic, static = (
        layers.repeat(partial(layers.linear, 4, 4), length)
        for layers, length in ((ElasticLayers(()), 3), (LAYERS, count))
    )
    assert isinstance(elastic, ElasticRepeat)
    elastic.activate(static)
    x = expected = torch.randn(2, 4)
    for layer in list(elastic.blocks)[:count]:
        expected = F.linear(expected, layer.get_parameter("weight"), layer.get_parameter("bias"))
    torch.testing.assert_close(elastic(x), expected)
    copy_active(elastic, static)
    torch.testing.assert_close(static(x), expected)


@pytest.mark.parametrize(
    ("template", "message"),
    [(LAYERS.repeat(nn.ReLU, 3), "count = 3 is more than the 2"), (nn.ReLU(), "cannot become ReLU")],
)
def test_chains_that_do_not_fit_raise(template: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ElasticRepeat(nn.ReLU, 2).activate(template)
