"""The layers that blocks are made of, behind a factory, so that one definition of a block serves both the static
network (torch's own layers) and the supernet (elastic layers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from search_spaces.options import OneOf
from search_spaces.parameter import Parameter


class Layers:
    """Makes torch's own layers."""

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        follows: nn.Module | None = None,
    ) -> nn.Module:
        """A convolution with `same` padding.

        Args:
            follows: the grouped convolution whose output channels this layer reads; an elastic layer picks its
                weights in the same pattern.
        """
        return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)

    def norm(self, channels: int, follows: nn.Module | None = None, epsilon: float = 1e-5) -> nn.Module:
        """Batch normalisation over the channels of an image."""
        return nn.BatchNorm2d(channels, epsilon)

    def one_of(self, options: Sequence[Callable[[], nn.Module]], chosen: int) -> OneOf:
        """The module that `options[chosen]` makes; an elastic layer holds all of them."""
        return OneOf(options, (chosen,))

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        """An affine map of the last dimension."""
        return nn.Linear(in_features, out_features, bias=bias)

    def layer_norm(self, features: int, epsilon: float = 1e-5) -> nn.Module:
        """Layer normalisation over the last dimension."""
        return nn.LayerNorm(features, epsilon)

    def parameter(self, *shape: int, fill: float = 0.0) -> Parameter:
        """A tensor that is learned by itself, such as the class token; an elastic one gives the first entries of each
        dimension."""
        return Parameter(*shape, fill=fill)
