"""The kinds of mixer that a layer chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.slm.attention import Attention, SlidingWindow
from search_spaces.slm.based import Based
from search_spaces.slm.blocks import MixerBlock
from search_spaces.slm.delta_net import DeltaNet
from search_spaces.slm.gated_delta_net import GatedDeltaNet
from search_spaces.slm.gated_linear_attention import GatedLinearAttention
from search_spaces.slm.mamba2 import Mamba2
from search_spaces.slm.rat import Rat
from search_spaces.slm.retnet import RetNet
from search_spaces.slm.short_convolution import ShortConvolution

Arguments = Mapping[str, Any]


class ShortConvolutionBlock(MixerBlock):
    """A residual block with `ShortConvolution`."""

    kind = ShortConvolution


class RetNetBlock(MixerBlock):
    """A residual block with `RetNet`."""

    kind = RetNet


class GatedLinearAttentionBlock(MixerBlock):
    """A residual block with `GatedLinearAttention`."""

    kind = GatedLinearAttention


class BasedBlock(MixerBlock):
    """A residual block with `Based`."""

    kind = Based


class Mamba2Block(MixerBlock):
    """A residual block with `Mamba2`."""

    kind = Mamba2


class DeltaNetBlock(MixerBlock):
    """A residual block with `DeltaNet`."""

    kind = DeltaNet


class GatedDeltaNetBlock(MixerBlock):
    """A residual block with `GatedDeltaNet`."""

    kind = GatedDeltaNet


class RatBlock(MixerBlock):
    """A residual block with `Rat`."""

    kind = Rat


class SlidingWindowBlock(MixerBlock):
    """A residual block with `SlidingWindow`."""

    kind = SlidingWindow


class AttentionBlock(MixerBlock):
    """A residual block with `Attention`."""

    kind = Attention


@dataclass(frozen=True)
class Kind:
    """A mixer that a layer may have.

    Attributes:
        block: the residual block with it.
        choices: those of a layer that it depends on, some of `kv_heads`, `window` and `state`; they are arguments of the
            mixer.
        others: the other arguments of the mixer but its width, of the options of the space and those arguments.
    """

    block: type[MixerBlock]
    choices: tuple[str, ...]
    others: Callable[[Arguments, Arguments], Arguments]


def _attention(options: Arguments, chosen: Arguments) -> Arguments:
    heads = options["heads"]
    if not options["shared_queries"]:
        heads = heads // max(options["kv_heads"]) * chosen["kv_heads"]
    return {
        "heads": heads,
        "head_width": options["head_width"],
        "base": options["rotary_base"],
        "stretch": None if options["rotary_stretch"] is None else tuple(options["rotary_stretch"]),
        "bias": options["attention_bias"],
        "norm_epsilon": options["epsilon"] if options["attention_norm"] else 0.0,
    }


def _heads(options: Arguments, chosen: Arguments) -> Arguments:
    return {"heads": options["heads"]}


def _rat(options: Arguments, chosen: Arguments) -> Arguments:
    sizes = {name: options[name] for name in ("heads", "head_width", "chunk")}
    return {**sizes, "rows": -(-options["context"] // options["chunk"])}


def _short_convolution(options: Arguments, chosen: Arguments) -> Arguments:
    return {"kernel": options["kernel"]}


#: By name, roughly in the order of their costs for a prompt of some hundred tokens.
KINDS: Mapping[str, Kind] = {
    "short_convolution": Kind(ShortConvolutionBlock, (), _short_convolution),
    "retnet": Kind(RetNetBlock, ("state",), _heads),
    "gated_linear_attention": Kind(GatedLinearAttentionBlock, ("state",), _heads),
    "based": Kind(BasedBlock, ("state",), _heads),
    "mamba2": Kind(Mamba2Block, ("state",), _heads),
    "delta_net": Kind(DeltaNetBlock, ("state",), _heads),
    "gated_delta_net": Kind(GatedDeltaNetBlock, ("state",), _heads),
    "rat": Kind(RatBlock, (), _rat),
    "sliding_window": Kind(SlidingWindowBlock, ("kv_heads", "window"), _attention),
    "attention": Kind(AttentionBlock, ("kv_heads",), _attention),
}

#: A layer without a mixer.
SKIP = "skip"

#: All that a layer chooses from, the cheapest first.
MIXERS = (SKIP, *KINDS)
