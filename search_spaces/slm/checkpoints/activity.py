"""Making norms of weights tell the importance of hidden units."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from search_spaces.slm.attention import GroupedAttention
from search_spaces.slm.checkpoints.calibration import Batch, largest_of
from search_spaces.slm.feed_forward import FeedForward
from search_spaces.supernet import Supernet

#: Units that are less active than this share of the average are taken for as active.
_LEAST = 1e-3


def equalise_activity(supernet: Supernet, batches: Iterable[Batch]) -> None:
    """Scale hidden units so that all of a layer are equally active; what the largest network computes stays the same.

    What a unit passes on is its activity times the weights that read it. Weights alone cannot tell: a unit may be
    large and its weights small. Afterwards they do, and `Supernet.sort_channels`, which every training
    with pretrained weights begins with, orders hidden units and heads by both, as structured pruning does ("Wanda",
    Sun et al., ICLR 2024, for whole units; with norm L1 of weights).

    Changed are the weights that make and those that read the hidden units of feed-forwards and the values of attention,
    of all modules that are in the largest network.

    Args:
        supernet: with pretrained weights.
        batches: a few sequences like those that the model is for; their targets are not looked at.
    """
    with largest_of(supernet) as modules:
        blocks = [block for module in modules.values() for block in module.modules()
                  if isinstance(block, FeedForward | GroupedAttention)]  # fmt: skip
        activity = _mean_inputs([block.output for block in blocks], modules.values(), batches)
        for block in blocks:
            _equalise(block, activity[block.output])


def _mean_inputs(
    layers: Iterable[nn.Module], network: Iterable[nn.Module], batches: Iterable[Batch]
) -> dict[nn.Module, Tensor]:
    """Of each layer the sum over all batches of the mean absolute value of every input, shape (features,)."""
    sums: dict[nn.Module, Tensor] = {}

    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean = inputs[0].abs().flatten(0, -2).mean(0)
        sums[layer] = sums[layer] + mean if layer in sums else mean

    hooks = [layer.register_forward_pre_hook(add) for layer in layers]
    try:
        for tokens, _ in batches:
            x = tokens
            for module in network:
                x = module(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not sums and hooks:
        raise ValueError("there are no batches for calibration")
    return sums


@torch.no_grad()
def _equalise(block: FeedForward | GroupedAttention, activity: Tensor) -> None:
    """Divide what makes units by their activity, and multiply what reads them."""
    maker = block.expand if isinstance(block, FeedForward) else block.value
    units = maker.get_parameter("weight").shape[0]
    # Each feature of a value is read once for every head of queries that shares it.
    scale = activity.view(-1, units).mean(0)
    scale = (scale / scale.mean()).nan_to_num(nan=1.0).clamp(min=_LEAST)
    maker.get_parameter("weight").div_(scale[:, None])
    if isinstance(bias := getattr(maker, "bias", None), Tensor):
        bias.div_(scale)
    block.output.get_parameter("weight").mul_(scale.repeat(len(activity) // units))
