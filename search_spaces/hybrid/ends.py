"""The first and the last layers of hybrid networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from search_spaces.convnet.blocks import ConvNormAct, MBConv, activation_of
from search_spaces.hybrid.patches import PatchConvolution
from search_spaces.hybrid.tokens import to_tokens
from search_spaces.layers import Layers
from search_spaces.spec import ModuleSpec


class Stem(nn.Sequential):
    """3x3 convolutions one after the other, with activations between them; a single one is followed by one, too.

    Args:
        layers: makes the layers.
        in_channels: of the images.
        channels: of each convolution.
        strides: of each convolution.
        activation: `relu`, `hardswish` or `silu`.
    """

    def __init__(
        self, layers: Layers, in_channels: int, channels: Sequence[int], strides: Sequence[int], activation: str
    ) -> None:
        last = activation if len(channels) == 1 else "identity"
        sources = (in_channels, *channels[:-1])
        kinds = (*[activation] * (len(channels) - 1), last)
        super().__init__(
            *(
                ConvNormAct(layers, source, out, 3, stride, kind)
                for source, out, stride, kind in zip(sources, channels, strides, kinds, strict=True)
            )
        )


class SqueezeMBConv(MBConv):
    """`MBConv` with squeeze-excite: a class of its own, since the others do not have its weights."""


class HybridHead(nn.Module):
    """Global average and classifier, each with a layer before it that may be left out.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        channels: of a 1x1 convolution before the average (LowFormer); with 0 there is none, and batch normalisation
            after the average (SHViT).
        features: of a linear layer with layer normalisation after the average; 0 leaves it out.
        classes: number of outputs.
        activation: `relu`, `hardswish` or `silu`.
    """

    def __init__(
        self, layers: Layers, in_channels: int, channels: int, features: int, classes: int, activation: str
    ) -> None:
        super().__init__()
        width = channels or in_channels
        self.expand = ConvNormAct(layers, in_channels, channels, 1, 1, activation) if channels else None
        self.norm = None if channels else layers.norm(in_channels)
        self.mix = layers.linear(width, features, bias=False) if features else None
        self.mix_norm = layers.layer_norm(features) if features else None
        self.act = activation_of(activation)
        self.classifier = layers.linear(features or width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = y.mean((2, 3), keepdim=True)
        y = (y if self.norm is None else self.norm(y)).flatten(1)
        if self.mix is not None and self.mix_norm is not None:
            y = self.act(self.mix_norm(self.mix(y)))
        logits: Tensor = self.classifier(y)
        return logits


class LayerNormHead(nn.Module):
    """Layer normalisation of the channels at every pixel, global average, classifier.

    Args:
        layers: makes the layers.
        in_channels: of the input.
        classes: number of outputs.
    """

    def __init__(self, layers: Layers, in_channels: int, classes: int) -> None:
        super().__init__()
        self.norm = layers.layer_norm(in_channels)
        self.classifier = layers.linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.norm(to_tokens(x)).mean(1))
        return logits


#: Describes a part of a network by the options of its space.
FromOptions = Callable[[Mapping[str, Any]], ModuleSpec]


def _convolutions(options: Mapping[str, Any]) -> ModuleSpec:
    return ModuleSpec.of(
        Stem,
        in_channels=options["in_channels"],
        channels=tuple(options["stem"]),
        strides=tuple(options["stem_strides"]),
        activation=options["activation"],
    )


def _patches(overlapping: bool) -> FromOptions:
    def spec(options: Mapping[str, Any]) -> ModuleSpec:
        (channels,), (stride,) = options["stem"], options["stem_strides"]
        kernel = 2 * stride - 1 if overlapping else stride
        return ModuleSpec.of(
            PatchConvolution, in_channels=options["in_channels"], out_channels=channels, kernel=kernel, stride=stride
        )

    return spec


#: The first layers by the option `stem_kind`. Overlapping patches (Wang et al., PVTv2, 2022) are twice as large as
#: their distance, less one.
STEMS: dict[str, FromOptions] = {
    "convolutions": _convolutions,
    "patches": _patches(overlapping=False),
    "overlapping_patches": _patches(overlapping=True),
}


def _convolution_head(options: Mapping[str, Any], in_channels: int) -> ModuleSpec:
    return ModuleSpec.of(
        HybridHead,
        in_channels=in_channels,
        channels=options["head"],
        features=options["features"],
        classes=options["classes"],
        activation=options["activation"],
    )


def _layer_norm_head(options: Mapping[str, Any], in_channels: int) -> ModuleSpec:
    return ModuleSpec.of(LayerNormHead, in_channels=in_channels, classes=options["classes"])


#: The last layers by the option `head_kind`, for a number of input channels.
HEADS: dict[str, Callable[[Mapping[str, Any], int], ModuleSpec]] = {
    "convolution": _convolution_head,
    "layer_norm": _layer_norm_head,
}
