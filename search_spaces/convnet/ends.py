"""First and last slot of spaces of inverted residuals."""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.convnet.blocks import ConvNormAct, Head
from search_spaces.space import Slot, Value, Variant
from search_spaces.spec import ModuleSpec


def stem(resolution: int, in_channels: int, channels: int, stride: int, activation: str) -> Slot:
    """A 3x3 convolution on images of `resolution` pixels, with normalisation and activation."""
    spec = ModuleSpec.of(
        ConvNormAct, in_channels=in_channels, out_channels=channels, kernel=3, stride=stride, activation=activation
    )
    return fixed("stem", Variant(spec, ((1, in_channels, resolution, resolution),)))


def head(in_channels: int, channels: int, classes: int, size: int, activation: str) -> Slot:
    """A 1x1 convolution, the global average of `size` x `size` values, and the classifier."""
    spec = ModuleSpec.of(
        Head, in_channels=in_channels, channels=channels, features=0, classes=classes, activation=activation
    )
    return fixed("head", Variant(spec, ((1, in_channels, size, size),)))


def fixed(name: str, variant: Variant) -> Slot:
    """A slot that is the same in all architectures."""

    def always(values: Mapping[str, Value], phase: str) -> Variant:
        return variant

    return Slot(name, (), always)
