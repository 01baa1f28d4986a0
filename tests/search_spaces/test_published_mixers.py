"""The smallest published network of every kind of mixer, rebuilt: its parameters and its multiply-accumulate operations.

Published figures have one or two digits; a network is right when it has them to within 3 %, or to within their rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.convnet.blocks import ConvNormAct, Head, MBConv, make_divisible
from search_spaces.hybrid.frequency_filter import FrequencyFilter
from search_spaces.hybrid.modulation import Modulation
from search_spaces.hybrid.selective_scan import AtrousSelectiveScan
from search_spaces.hybrid.state_mixer import HiddenStateMixer
from search_spaces.layers import Layers

LAYERS = Layers()
CLASSES = 1000


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + super().forward(x)
        return result


class ChannelNorm(nn.LayerNorm):
    """Of images: over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


# -------------------------------------------------------------- EfficientViM


class EfficientViM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (128, 192, 320)
        sizes = zip(widths, (14, 7, 4), (49, 25, 9), strict=True)
        self.stem = nn.Sequential(
            *(ConvNormAct(LAYERS, a, b, 3, 2, "relu") for a, b in pairwise((3, 16, 32, 64))),
            ConvNormAct(LAYERS, 64, 128, 3, 2, "identity"),
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(HiddenStateMixer(LAYERS, width, 4 * width, pixels, states) for _ in range(2))
            for width, pixels, states in sizes
        )
        self.merging = nn.ModuleList(
            nn.Sequential(depthwise(a), merging(a, b), depthwise(b)) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in (*widths, widths[-1]))
        self.heads = nn.ModuleList(nn.Linear(width, CLASSES) for width in (*widths, widths[-1]))
        self.shares = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        read = []
        for index, stage in enumerate(self.stages):
            x = self.merging[index - 1](x) if index else x
            for block in stage:
                x, states = block.with_states(x)
            read.append(states)
        read.append(x.flatten(2).transpose(1, 2))
        logits = [head(norm(tokens).mean(1)) for tokens, norm, head in zip(read, self.norms, self.heads, strict=True)]
        return torch.einsum("h,hnc->nc", self.shares.softmax(0), torch.stack(logits))


def depthwise(channels: int) -> nn.Module:
    return Residual(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False), nn.BatchNorm2d(channels))


def merging(before: int, after: int) -> nn.Module:
    return MBConv(LAYERS, before, after, 4 * after, 3, 2, "relu", squeeze=make_divisible(after))


# ---------------------------------------------------------- EfficientVMamba


class PatchMerging(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * channels), nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.reduce(self.norm(F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return result


def efficient_vmamba() -> nn.Module:
    modules: list[nn.Module] = [nn.Conv2d(3, 48, 4, 4), ChannelNorm(48)]
    for width, pixels in ((48, 56), (96, 28)):
        modules += [AtrousSelectiveScan(LAYERS, width, 2 * width, pixels) for _ in range(2)]
        modules.append(PatchMerging(width))
    modules += [MBConv(LAYERS, 192, 192, 768, 3, 1, "relu", squeeze=96, gate="hardsigmoid") for _ in range(4)]
    modules.append(PatchMerging(192))
    modules += [MBConv(LAYERS, 384, 384, 1536, 3, 1, "relu", squeeze=192, gate="hardsigmoid") for _ in range(2)]
    return nn.Sequential(*modules, ChannelNorm(384), Mean(), nn.Linear(384, CLASSES))


def macs_of_scans(per_state: int) -> int:
    """Of the four blocks, when each state of each channel at each position of each sub-grid costs `per_state`."""
    return sum(2 * pixels**2 * hidden * 16 * per_state for pixels, hidden in ((56, 96), (28, 192)))


# -------------------------------------------------------------- EfficientMod


class Transformer(nn.Module):
    """8 heads of 32 dimensions, whatever the number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value, self.project = nn.Linear(channels, 3 * 256, bias=False), nn.Linear(256, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(self.norm(tokens)).unflatten(2, (3, 8, 32)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(2, 3) / 32**0.5).softmax(-1)
        tokens = tokens + self.project((weights @ value).transpose(1, 2).flatten(2))
        tokens = tokens + self.mlp(self.mlp_norm(tokens))
        return tokens.transpose(1, 2).view_as(x)


def efficient_mod() -> nn.Module:
    modules: list[nn.Module] = [nn.Conv2d(3, 32, 7, 4, 3), ChannelNorm(32)]
    stages = ((32, 2, 0, 56), (64, 2, 0, 28), (128, 6, 1, 14), (256, 2, 2, 7))
    for width, depth, transformers, pixels in stages:
        if width > 32:
            modules += [nn.Conv2d(width // 2, width, 3, 2, 1), ChannelNorm(width)]
        modules += [Modulation(LAYERS, width, width * (1, 6)[index % 2], pixels) for index in range(depth)]
        modules += [Transformer(width) for _ in range(transformers)]
    return nn.Sequential(*modules, ChannelNorm(256), Mean(), nn.Linear(256, CLASSES))


# -------------------------------------------------------------------- AFFNet


class Fusion(nn.Module):
    """What comes into the blocks beside what comes out of them."""

    def __init__(self, channels: int, depth: int, pixels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(FrequencyFilter(LAYERS, channels, 2 * channels, pixels) for _ in range(depth)),
            nn.GroupNorm(1, channels),
            ConvNormAct(LAYERS, channels, channels, 1, 1, "identity"),
        )
        self.fuse = ConvNormAct(LAYERS, 2 * channels, channels, 1, 1, "silu")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fuse(torch.cat([x, self.blocks(x)], 1))
        return result


def affnet() -> nn.Module:
    modules: list[nn.Module] = [ConvNormAct(LAYERS, 3, 16, 3, 2, "silu")]
    for before, after, stride in ((16, 32, 1), (32, 48, 2), (48, 48, 1), (48, 48, 1)):
        modules.append(MBConv(LAYERS, before, after, 2 * before, 3, stride, "silu"))
    for before, after, depth, pixels in ((48, 64, 2, 32), (64, 104, 4, 16), (104, 144, 3, 8)):
        modules += [MBConv(LAYERS, before, after, 2 * before, 3, 2, "silu"), Fusion(after, depth, pixels)]
    return nn.Sequential(*modules, Head(LAYERS, 144, 576, 0, CLASSES, "silu"))


# ------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("build", "pixels", "millions", "mmacs", "counted_otherwise"),
    [
        (EfficientViM, 224, "6.7", "239", 0),
        # The authors count nine operations for each state; the product with C is one.
        (efficient_vmamba, 224, "6", "8e2", macs_of_scans(8)),
        (efficient_mod, 224, "4.7", "6e2", 0),
        (affnet, 256, "1.4", "4e2", 0),
    ],
)
def test_figures(
    build: Callable[[], nn.Module], pixels: int, millions: str, mmacs: str, counted_otherwise: int
) -> None:
    """Millions of parameters and of multiply-accumulate operations, with as many digits as were published."""
    with torch.device("meta"):
        network = build().eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = network(torch.empty(1, 3, pixels, pixels))
    assert logits.shape == (1, CLASSES)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = counter.get_total_flops() / 2 + counted_otherwise
    for found, published in ((parameters, Decimal(millions)), (macs, Decimal(mmacs))):
        rounding = 0.5 * 10.0 ** int(published.as_tuple().exponent)
        tolerance = max(0.03 * float(published), rounding)
        assert found / 1e6 == pytest.approx(float(published), rel=0, abs=tolerance)


def test_parameters_of_efficientvim_are_exactly_those_of_the_authors() -> None:
    """But for the number of every state that softmax does not see, in six blocks; they have 6,679,458."""
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in EfficientViM().parameters())
    assert count == 6_679_458 - 2 * (49 + 25 + 9)
