"""Other mixers that begin with the weights of the attention which they may replace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.slm.attention import Attention
from search_spaces.slm.blocks import MixerBlock
from search_spaces.slm.linear_mixer import LinearMixer
from search_spaces.supernet import Supernet

_ATTENTION = "attentionblock"


@torch.no_grad()
def copy_attention(supernet: Supernet) -> list[str]:
    """Give the other mixers of every layer what they have in common with its attention.

    All of them get the normalisation of what they read. Gated linear attention, RetNet and BASED also get queries, keys, values
    and outputs, head by head, as "The Mamba in the Llama" (Wang et al., NeurIPS 2024) and LoLCATs (Zhang et al.,
    ICLR 2025) begin; a key-value head is repeated for all heads of queries that share it. Where a head has
    fewer features, they are the first ones. Rotation, biases, and normalisation of queries and keys have no counterpart, and
    gates and decays stay as they were made: without training (`nas.training.mixer_distillation`) the copies are no
    substitute.

    Args:
        supernet: with pretrained weights in its attention.

    Returns:
        Names of the modules that were changed.

    Raises:
        ValueError: when no layer has attention and another mixer.
    """
    changed = []
    for slot, modules in supernet.slots.items():
        kinds = dict(modules.named_children())
        attention = kinds.get(_ATTENTION)
        for name, block in kinds.items():
            if name == _ATTENTION or not isinstance(attention, MixerBlock) or not isinstance(block, MixerBlock):
                continue
            block.norm.get_parameter("weight").copy_(attention.norm.get_parameter("weight"))
            if isinstance(block.mixer, LinearMixer) and isinstance(attention.mixer, Attention):
                _copy_heads(attention.mixer, block.mixer)
            changed.append(f"slots.{slot}.{name}")
    if not changed:
        raise ValueError("no layer of the space chooses between attention and another mixer")
    return changed


def _copy_heads(attention: Attention, other: LinearMixer) -> None:
    """Queries, keys, values and outputs of all heads, in the order that attention has them in."""
    heads = _weight(attention.query).shape[0] // attention.head_width
    for name in ("query", "key", "value"):
        source = _weight(attention.get_submodule(name)).unflatten(0, (-1, attention.head_width))
        source = source.repeat(heads // source.shape[0], 1, 1)
        _copy_first(_weight(other.get_submodule(name)).unflatten(0, (heads, -1)), source, 1)
    source = _weight(attention.output).unflatten(1, (heads, -1))
    _copy_first(_weight(other.get_submodule("output")).unflatten(1, (heads, -1)), source, 2)


def _copy_first(target: Tensor, source: Tensor, dim: int) -> None:
    """As many entries of a dimension as both have; `target` is a view of a weight."""
    count = min(target.shape[dim], source.shape[dim])
    target.narrow(dim, 0, count).copy_(source.narrow(dim, 0, count))


def _weight(layer: nn.Module) -> Tensor:
    return layer.get_parameter("weight")
