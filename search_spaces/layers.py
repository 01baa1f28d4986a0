"""The layers that blocks are made of, behind a factory, so that one definition of a block serves both the static
network (torch's own layers) and the supernet (elastic layers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

from torch import Tensor, nn

from search_spaces.causal_conv import CausalConv
from search_spaces.constant import Constant
from search_spaces.options import OneOf
from search_spaces.padding import SameConv2d
from search_spaces.parameter import Parameter, Positions
from search_spaces.repeat import Repeat
from search_spaces.rms_norm import RMSNorm
from search_spaces.size import Size
from search_spaces.tied import TiedLinear


def same_padding(kernel: int) -> int:
    """Zeros on every side with which a convolution keeps the size: an even kernel has none that are the same on all."""
    return kernel // 2 if kernel % 2 else 0


class Layers:
    """Makes torch's own layers.

    Attributes:
        epsilon: added to the variance by batch normalisation.
        padding: of convolutions: `symmetric`, half a kernel on all sides, or `same` as TensorFlow understands it (see
            `search_spaces.padding`); with stride 1 there is no difference.
    """

    epsilon: float = 1e-5
    padding: str = "symmetric"

    def adjusted(self, epsilon: float, padding: str) -> Self:
        """The same factory with other conventions, for networks that come from another framework.

        Raises:
            ValueError: when the padding is none of the two.
        """
        if padding not in ("symmetric", "same"):
            raise ValueError(f"padding is 'symmetric' or 'same', not {padding!r}")
        other = copy(self)
        other.epsilon, other.padding = epsilon, padding
        return other

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        follows: nn.Module | None = None,
        parts: int = 1,
        padding: int | None = None,
    ) -> nn.Module:
        """A convolution whose output has the size of its input, divided by the stride, unless `padding` is given; one
        with an even kernel then pads nothing, which is left to the block.

        Args:
            follows: the grouped convolution whose output channels this layer reads; an elastic layer picks its
                weights in the same pattern.
            parts: equal parts of the output channels that are of different use, such as query, key and value; an
                elastic layer keeps the first channels of each.
        """
        if padding is None and self.padding == "same" and stride > 1:
            return SameConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=bias)
        padding = same_padding(kernel) if padding is None else padding
        return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=padding, groups=groups, bias=bias)

    def conv_transpose(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        """A transposed convolution with bias that multiplies height and width by `stride`; `kernel - stride` is even."""
        padding = (kernel - stride) // 2
        return nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding=padding)

    def norm(self, channels: int, follows: nn.Module | None = None) -> nn.Module:
        """Batch normalisation over the channels of an image."""
        return nn.BatchNorm2d(channels, self.epsilon)

    def group_norm(self, channels: int) -> nn.Module:
        """Normalisation over all channels and pixels of each image: group normalisation with one group."""
        return nn.GroupNorm(1, channels)

    def one_of(self, options: Sequence[Callable[[], nn.Module]], chosen: int) -> OneOf:
        """The module that `options[chosen]` makes; an elastic layer holds all of them."""
        return OneOf(options, (chosen,))

    def repeat(self, make: Callable[[], nn.Module], count: int) -> Repeat:
        """A chain of `count` blocks that `make` makes; an elastic one runs the first ones."""
        return Repeat(make, count)

    def linear(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        parts: int = 1,
        follows: nn.Module | None = None,
    ) -> nn.Module:
        """An affine map of the last dimension.

        Args:
            parts: equal parts of the outputs, such as heads; an elastic layer keeps the first ones of each.
            follows: the affine map in whose parts the inputs are laid out.
        """
        return nn.Linear(in_features, out_features, bias=bias)

    def causal_conv(self, channels: int | Sequence[int], kernel: int, bias: bool = False) -> CausalConv:
        """A depthwise convolution over a sequence that looks back; an elastic one keeps the first channels, of each block
        when several are given."""
        return CausalConv(channels, kernel, bias)

    def layer_norm(self, features: int, epsilon: float = 1e-5) -> nn.Module:
        """Layer normalisation over the last dimension."""
        return nn.LayerNorm(features, epsilon)

    def size(self, value: int) -> Size:
        """A number that no tensor has as a dimension; an elastic one takes smaller numbers."""
        return Size(value)

    def embedding(self, rows: int, features: int) -> nn.Module:
        """The rows of a table by their numbers."""
        return nn.Embedding(rows, features)

    def tied_linear(self, in_features: int, out_features: int) -> TiedLinear:
        """A linear map without bias that reads the weight of another layer; the space says of which (`ties`)."""
        return TiedLinear(in_features, out_features)

    def rms_norm(self, features: int, epsilon: float = 1e-6) -> nn.Module:
        """Normalisation of the last dimension by the root of the mean of its squares."""
        return RMSNorm(features, epsilon)

    def parameter(self, *shape: int, fill: float = 0.0) -> Parameter:
        """A tensor that is learned by itself, such as the class token; an elastic one gives the first entries of each
        dimension."""
        return Parameter(*shape, fill=fill)

    def constant(self, make: Callable[[int], Tensor], size: int) -> Constant:
        """The tensor that `make` computes for a size; an elastic one computes those of smaller sizes too."""
        return Constant(make, size)

    def positions(self, grid: int, features: int, leading: int = 0) -> Positions:
        """What is added to the tokens of a square grid, and to `leading` tokens before them; an elastic one gives a
        smaller grid by interpolation."""
        return Positions(grid, features, leading)
