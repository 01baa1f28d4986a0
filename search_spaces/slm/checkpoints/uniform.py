"""A network whose layers have sizes of their own, as a model of transformers, which has the same sizes in all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.rms_norm import RMSNorm
from search_spaces.slm.attention import Attention
from search_spaces.slm.blocks import Embedding, Head, MixerBlock
from search_spaces.slm.checkpoints.calibration import layer_of
from search_spaces.slm.checkpoints.config import FAMILIES, CheckpointConfig, Family
from search_spaces.slm.checkpoints.weights import heads_moved, their_name
from search_spaces.slm.feed_forward import FeedForward
from search_spaces.tied import TiedLinear


@dataclass(frozen=True)
class Layer:
    """A layer of a network; what it leaves out is `None`."""

    mixer: MixerBlock | None
    feed_forward: FeedForward | None

    @property
    def attention(self) -> Attention | None:
        """Its mixer without the block around it."""
        return None if self.mixer is None else self.mixer.mixer  # type: ignore[return-value]

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, 0 without attention."""
        attention = self.attention
        return 0 if attention is None else _rows(attention.key) // attention.head_width

    @property
    def heads(self) -> int:
        """Heads of queries, 0 without attention."""
        attention = self.attention
        return 0 if attention is None else _rows(attention.query) // attention.head_width

    @property
    def hidden(self) -> int:
        """Units of the feed-forward, 0 without it."""
        return 0 if self.feed_forward is None else _rows(self.feed_forward.gate)


def as_model(network: nn.Sequential) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    """What transformers needs to compute the same as `network`: a configuration, and tensors by their names there.

    Raises:
        ValueError: when it has no such model.
    """
    modules = dict(network.named_children())
    embedding, head = modules.get("embedding"), modules.get("head")
    if not isinstance(embedding, Embedding) or not isinstance(head, Head):
        raise ValueError("only networks of the space hybrid-slm can be written for transformers")
    if embedding.meta.weight.shape[1]:
        raise ValueError("transformers' models have no meta tokens, this network has")
    layers = _layers(modules)
    config = _config(embedding, head, layers)
    table: Tensor = embedding.table.get_parameter("weight")
    tensors = {their_name("embedding", "embedding", "table.weight"): table}
    tensors[their_name("head", "head", "norm.weight")] = head.norm.get_parameter("weight")
    if not config.tied:
        tensors[their_name("head", "head", "linear.weight")] = head.linear.get_parameter("weight")
    for number, layer in enumerate(layers, start=1):
        tensors |= {
            their_name(f"layer{number}_{slot}", kind, place): tensor
            for slot, kind, found in (("mixer", "attentionblock", _attention(layer, config)),
                                      ("feed_forward", "feedforward", _feed_forward(layer, config)))
            for place, tensor in found
        }  # fmt: skip
    return config, {str(name): tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def _layers(modules: dict[str, nn.Module]) -> list[Layer]:
    numbers = sorted({number for name in modules if (number := layer_of(name)) is not None})
    layers = []
    for number in numbers:
        mixer, feed_forward = modules.get(f"layer{number}_mixer"), modules.get(f"layer{number}_feed_forward")
        if mixer is not None and not (isinstance(mixer, MixerBlock) and isinstance(mixer.mixer, Attention)):
            kind = type(getattr(mixer, "mixer", mixer)).__name__
            raise ValueError(f"the mixer of layer {number} is {kind}; models that can be written have Attention only")
        layers.append(Layer(mixer, feed_forward))  # type: ignore[arg-type]
    if not any(layer.kv_heads for layer in layers):
        raise ValueError("no layer has attention, which models of transformers need")
    return layers


def _config(embedding: Embedding, head: Head, layers: Sequence[Layer]) -> CheckpointConfig:
    """The sizes of a model that all layers fit into."""
    vocabulary, width = embedding.table.get_parameter("weight").shape
    attention = next(layer.attention for layer in layers if layer.attention is not None)
    family = _family(attention)
    heads, kv_heads = _heads(layers, width if family == "llama" else None)
    assert isinstance(head.norm, RMSNorm)
    return CheckpointConfig(
        family=family,
        vocabulary=vocabulary,
        width=width,
        hidden=max(1, *(layer.hidden for layer in layers)),
        layers=len(layers),
        heads=heads,
        kv_heads=kv_heads,
        head_width=attention.head_width,
        tied=isinstance(head.linear, TiedLinear),
        epsilon=float(head.norm.eps or 0.0),
        rotary_base=attention.base,
        rotary_stretch=attention.stretch,
    )


def _family(attention: Attention) -> str:
    bias, norm = _bias(attention.query) is not None, isinstance(attention.query_norm, RMSNorm)
    for name, family in FAMILIES.items():
        if (family.bias, family.norm) == (bias, norm):
            return name
    raise ValueError("no model that can be written has both a bias and a normalisation of queries and keys")


def _heads(layers: Sequence[Layer], width: int | None) -> tuple[int, int]:
    """Heads of queries, and of keys and values, that every layer can have.

    Args:
        width: what the heads of queries have to divide, if anything.
    """
    with_attention = [layer for layer in layers if layer.kv_heads]
    groups = {layer.heads // layer.kv_heads for layer in with_attention}
    if len(groups) > 1:
        # The same heads of queries share fewer of keys and values in some layers: these are repeated.
        return max(layer.heads for layer in layers), lcm(*(layer.kv_heads for layer in with_attention))
    (group,), most = groups, max(layer.kv_heads for layer in layers)
    counts = (count for count in range(most, (width or most) + 1) if not (width or 0) % (group * count))
    count = next(counts, None)
    if count is None:
        raise ValueError(f"no number of heads from {group * most} on divides the width {width}, as Llama's have to")
    return group * count, count


def _attention(layer: Layer, config: CheckpointConfig) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a mixer by their places in it, of the sizes of the model; zeros when there is none."""
    attention = layer.attention
    size, groups = config.head_width, config.heads // config.kv_heads
    if attention is None:
        yield from _no_attention(config)
        return
    yield "norm.weight", layer.mixer.norm.get_parameter("weight")  # type: ignore[union-attr]
    repeats = 1 if layer.heads // layer.kv_heads == groups else config.kv_heads // layer.kv_heads
    for name in ("key", "value"):
        for tensor_name, tensor in attention.get_submodule(name).named_parameters():
            repeated = tensor.repeat(repeats, *[1] * (tensor.dim() - 1))
            yield f"mixer.{name}.{tensor_name}", _filled(repeated, 0, config.kv_heads * size)
    for name, dim in (("query", 0), ("output", 1)):
        for tensor_name, tensor in attention.get_submodule(name).named_parameters():
            by_group = _filled(tensor.unflatten(dim, (groups, -1)), dim + 1, config.kv_heads * size)
            place = f"mixer.{name}.{tensor_name}"
            theirs = str(their_name("layer1_mixer", "attentionblock", place))
            yield place, heads_moved(theirs, by_group.flatten(dim, dim + 1), inner=config.kv_heads, outer=groups)
    for name in ("query_norm", "key_norm"):
        for tensor_name, tensor in attention.get_submodule(name).named_parameters():
            yield f"mixer.{name}.{tensor_name}", tensor


def _no_attention(config: CheckpointConfig) -> Iterator[tuple[str, Tensor]]:
    family: Family = FAMILIES[config.family]
    inner, shared = config.heads * config.head_width, config.kv_heads * config.head_width
    yield "norm.weight", torch.ones(config.width)
    yield "mixer.output.weight", torch.zeros(config.width, inner)
    for name, rows in (("query", inner), ("key", shared), ("value", shared)):
        yield f"mixer.{name}.weight", torch.zeros(rows, config.width)
        if family.bias:
            yield f"mixer.{name}.bias", torch.zeros(rows)
    for name in ("query_norm", "key_norm") if family.norm else ():
        yield f"mixer.{name}.weight", torch.ones(config.head_width)


def _feed_forward(layer: Layer, config: CheckpointConfig) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a feed-forward, as those of a mixer."""
    block = layer.feed_forward
    yield "norm.weight", torch.ones(config.width) if block is None else block.norm.get_parameter("weight")
    for name, dim in (("gate", 0), ("expand", 0), ("output", 1)):
        shape = (config.width, 0) if dim else (0, config.width)
        weight = torch.zeros(shape) if block is None else block.get_submodule(name).get_parameter("weight")
        yield f"{name}.weight", _filled(weight, dim, config.hidden)


def _filled(x: Tensor, dim: int, size: int) -> Tensor:
    """`x` with zeros after its entries of a dimension."""
    after = [0, 0] * (x.dim() - 1 - dim)
    return F.pad(x, (*after, 0, size - x.shape[dim]))


def _rows(layer: nn.Module) -> int:
    return layer.get_parameter("weight").shape[0]


def _bias(layer: nn.Module) -> Tensor | None:
    return dict(layer.named_parameters()).get("bias")
