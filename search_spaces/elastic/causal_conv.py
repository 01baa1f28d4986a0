"""Causal convolution with elastic channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.causal_conv import CausalConv
from search_spaces.elastic.layer import ElasticLayer, check_fits


class ElasticCausalConv(ElasticLayer, CausalConv):
    """`CausalConv` over the first channels of each block.

    Args:
        channels: largest number of them, or of those of each block.
        kernel: number of inputs that an output sees.
        bias: whether there is one.
    """

    active_blocks: tuple[int, ...]

    def __init__(self, channels: int | Sequence[int], kernel: int, bias: bool = False) -> None:
        CausalConv.__init__(self, channels, kernel, bias)
        self.active_blocks = self.blocks

    def activate(self, template: nn.Module) -> None:
        if not isinstance(template, CausalConv) or not self._is_like(template):
            raise ValueError(f"{self} cannot become {template}")
        sizes = zip(template.blocks, self.blocks, strict=True)
        check_fits(self, **{f"block{index}": pair for index, pair in enumerate(sizes)})
        vars(self).update(active_blocks=template.blocks)

    def _is_like(self, template: CausalConv) -> bool:
        """Whether all that is not elastic agrees."""
        return (
            template.kernel == self.kernel
            and len(template.blocks) == len(self.blocks)
            and (template.bias is None) == (self.bias is None)
        )

    def active(self) -> tuple[Tensor, Tensor | None]:
        return self._prefix(self.weight), None if self.bias is None else self._prefix(self.bias)

    def _prefix(self, tensor: Tensor) -> Tensor:
        if self.active_blocks == self.blocks:
            return tensor
        blocks = zip(tensor.split(self.blocks, dim=-1), self.active_blocks, strict=True)
        return torch.cat([block[..., :size] for block, size in blocks], dim=-1)

    def active_state(self) -> dict[str, Tensor]:
        weight, bias = self.active()
        state = {"weight": weight.detach()}
        return state if bias is None else {**state, "bias": bias.detach()}
