"""What every elastic layer can do, and the factory that makes them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from search_spaces.causal_conv import CausalConv
from search_spaces.constant import Constant
from search_spaces.layers import Layers
from search_spaces.options import OneOf
from search_spaces.parameter import Parameter, Positions
from search_spaces.repeat import Repeat
from search_spaces.size import Size
from search_spaces.tied import TiedLinear


class ElasticLayer(nn.Module):
    """A layer that behaves as any smaller static layer of its kind.

    Its parameters bear the names of torch's static layer and have the largest shape.
    """

    @abstractmethod
    def activate(self, template: nn.Module) -> None:
        """Take on the shape of the static layer `template` (its values are not read).

        Raises:
            ValueError: when the template does not fit into this layer.
        """

    def set_active(self, **sizes: int) -> None:
        """Set attributes without the search for parameters in `nn.Module.__setattr__`: it would take most of the time
        of activating a supernet."""
        vars(self).update(sizes)

    @abstractmethod
    def active_state(self) -> dict[str, Tensor]:
        """State dictionary of the static layer that this one now behaves as."""


def prefix(weight: Tensor, dim: int, active: int, blocks: int, blocks_max: int) -> Tensor:
    """The first `active` entries of a dimension; when it is laid out as `blocks_max` equal blocks, the first
    `active / blocks` entries of each of the first `blocks` ones.

    A view when it can be, otherwise a copy that gradients flow through.
    """
    if blocks_max == 1:
        return weight.narrow(dim, 0, active)
    split = weight.reshape(*weight.shape[:dim], blocks_max, -1, *weight.shape[dim + 1 :])
    return split.narrow(dim, 0, blocks).narrow(dim + 1, 0, active // blocks).flatten(dim, dim + 1)


def check_fits(layer: nn.Module, **sizes: tuple[int, int]) -> None:
    """Raise `ValueError` when one of the named (active, largest) sizes is too large."""
    for name, (active, largest) in sizes.items():
        if active > largest:
            raise ValueError(f"{name} = {active} is more than the {largest} of {layer}")


class ElasticLayers(Layers):
    """Makes elastic layers; convolutions larger than 1x1 take any of `kernels`.

    Args:
        kernels: the kernel sizes among which the convolutions of a block choose.
    """

    def __init__(self, kernels: Sequence[int]) -> None:
        self.kernels = tuple(sorted(kernels))

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
        from search_spaces.elastic.conv import ElasticConv2d

        kernels = self.kernels if kernel == max(self.kernels, default=0) else (kernel,)
        same = padding is None and self.padding == "same" and stride > 1
        return ElasticConv2d(
            in_channels,
            out_channels,
            kernels,
            stride,
            groups,
            bias,
            _elastic(follows),
            parts=parts,
            padding=padding,
            same=same,
        )

    def conv_transpose(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        from search_spaces.elastic.conv_transpose import ElasticConvTranspose2d

        return ElasticConvTranspose2d(in_channels, out_channels, kernel, stride)

    def norm(self, channels: int, follows: nn.Module | None = None) -> nn.Module:
        from search_spaces.elastic.norm import ElasticBatchNorm2d

        return ElasticBatchNorm2d(channels, _elastic(follows), self.epsilon)

    def group_norm(self, channels: int) -> nn.Module:
        from search_spaces.elastic.norm import ElasticGroupNorm

        return ElasticGroupNorm(channels)

    def one_of(self, options: Sequence[Callable[[], nn.Module]], chosen: int) -> OneOf:
        from search_spaces.elastic.options import ElasticOneOf

        return ElasticOneOf(options)

    def repeat(self, make: Callable[[], nn.Module], count: int) -> Repeat:
        from search_spaces.elastic.repeat import ElasticRepeat

        return ElasticRepeat(make, count)

    def linear(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        parts: int = 1,
        follows: nn.Module | None = None,
    ) -> nn.Module:
        from search_spaces.elastic.linear import ElasticLinear

        return ElasticLinear(in_features, out_features, bias, parts, _elastic(follows))

    def causal_conv(self, channels: int | Sequence[int], kernel: int, bias: bool = False) -> CausalConv:
        from search_spaces.elastic.causal_conv import ElasticCausalConv

        return ElasticCausalConv(channels, kernel, bias)

    def layer_norm(self, features: int, epsilon: float = 1e-5) -> nn.Module:
        from search_spaces.elastic.norm import ElasticLayerNorm

        return ElasticLayerNorm(features, epsilon)

    def size(self, value: int) -> Size:
        from search_spaces.elastic.size import ElasticSize

        return ElasticSize(value)

    def embedding(self, rows: int, features: int) -> nn.Module:
        from search_spaces.elastic.embedding import ElasticEmbedding

        return ElasticEmbedding(rows, features)

    def tied_linear(self, in_features: int, out_features: int) -> TiedLinear:
        from search_spaces.elastic.embedding import ElasticTiedLinear

        return ElasticTiedLinear(in_features, out_features)

    def rms_norm(self, features: int, epsilon: float = 1e-6) -> nn.Module:
        from search_spaces.elastic.norm import ElasticRMSNorm

        return ElasticRMSNorm(features, epsilon)

    def parameter(self, *shape: int, fill: float = 0.0) -> Parameter:
        from search_spaces.elastic.parameter import ElasticParameter

        return ElasticParameter(*shape, fill=fill)

    def constant(self, make: Callable[[int], Tensor], size: int) -> Constant:
        from search_spaces.elastic.constant import ElasticConstant

        return ElasticConstant(make, size)

    def positions(self, grid: int, features: int, leading: int = 0) -> Positions:
        from search_spaces.elastic.positions import ElasticPositions

        return ElasticPositions(grid, features, leading)


def _elastic(follows: nn.Module | None) -> ElasticLayer | None:
    if follows is not None and not isinstance(follows, ElasticLayer):
        raise TypeError(f"an elastic layer follows elastic layers only, not {follows}")
    return follows


def copy_active(elastic: nn.Module, static: nn.Module) -> None:
    """Give `static`, a module of the same structure, copies of the active weights of `elastic`.

    The tensors of `static` are replaced, so they may be on the meta device.

    Raises:
        RuntimeError: when a name or a shape differs (from torch).
    """
    for name, layer in static.named_modules():
        source = elastic.get_submodule(name)
        if isinstance(source, ElasticLayer):
            state = source.active_state()
        else:
            tensors = (*source.named_parameters(recurse=False), *source.named_buffers(recurse=False))
            state = {key: tensor.detach() for key, tensor in tensors}
        if state:
            copies = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
            layer.load_state_dict(copies, strict=True, assign=True)
