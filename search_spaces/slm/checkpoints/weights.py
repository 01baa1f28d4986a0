"""Weights of language models under the names of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from search_spaces.pretrained import Checkpoint, Converter
from search_spaces.slm.checkpoints.config import CheckpointConfig

if TYPE_CHECKING:
    from search_spaces.supernet import Supernet

#: Modules of a network by their names in transformers; {} is the number of a layer, ours from 1, theirs from 0.
_OUTER = {"embedding.table": "model.embed_tokens", "head.norm": "model.norm", "head.linear": "lm_head"}
_MIXER = {
    "norm": "input_layernorm",
    **{f"mixer.{ours}": f"self_attn.{theirs}_proj" for ours, theirs in zip(
        ("query", "key", "value", "output"), "qkvo", strict=True)},
    **{f"mixer.{ours}_norm": f"self_attn.{theirs}_norm" for ours, theirs in (("query", "q"), ("key", "k"))},
}  # fmt: skip
_FEED_FORWARD = {
    "norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "expand": "mlp.up_proj",
    "output": "mlp.down_proj",
}

#: By the class of a layer's module. All attention has the same weights.
_LAYERS: Mapping[str, Mapping[str, str]] = {
    "attentionblock": _MIXER,
    "slidingwindowblock": _MIXER,
    "feedforward": _FEED_FORWARD,
}

#: Which dimension of a tensor is that of the heads of queries, in both naming schemes.
_QUERIES = {"q_proj.weight": 0, "q_proj.bias": 0, "o_proj.weight": 1}

#: Constants that old checkpoints hold.
_CONSTANT = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")

_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


def their_name(slot: str, module: str, place: str) -> str | None:
    """The name in transformers of a tensor; `None` when there is none.

    Args:
        slot: such as `layer1_mixer`.
        module: name of the class of its module, in lower case.
        place: in that module, such as `norm.weight`.
    """
    part, _, tensor = place.rpartition(".")
    if found := re.fullmatch(r"layer(\d+)_\w+", slot):
        theirs = _LAYERS.get(module, {}).get(part)
        return None if theirs is None else f"model.layers.{int(found[1]) - 1}.{theirs}.{tensor}"
    outer = _OUTER.get(f"{slot}.{part}")
    return None if outer is None else f"{outer}.{tensor}"


def heads_moved(name: str, tensor: Tensor, inner: int, outer: int) -> Tensor:
    """A tensor of transformers with its heads of queries, if it has them, in another order.

    There all heads of queries which share a head of keys and values follow each other; here the first ones of all do, then
    the second ones.

    Args:
        name: in transformers.
        tensor: what is laid out as `outer` blocks of `inner` heads.
        inner: number of heads that change places with `outer`.
        outer: likewise.
    """
    dim = next((dim for end, dim in _QUERIES.items() if name.endswith(end)), None)
    if dim is None or tensor.dim() <= dim or tensor.shape[dim] % (inner * outer):
        return tensor
    blocks: Tensor = tensor.unflatten(dim, (outer, inner, -1))
    return blocks.transpose(dim, dim + 1).flatten(dim, dim + 2)


def _convert(checkpoint: Checkpoint, supernet: Supernet) -> dict[str, Tensor]:
    """What the checkpoint has for the tensors of a supernet, by the names there."""
    if checkpoint.directory is None:
        raise ValueError("give the directory that holds config.json and the safetensors files")
    config = CheckpointConfig.read(checkpoint.directory)
    _check_same(config, supernet)
    given: dict[str, Tensor] = {}
    for name, tensor in supernet.state_dict().items():
        _, slot, module, place = name.split(".", 3)
        theirs = their_name(slot, module, place)
        if theirs == _HEAD and config.tied:
            theirs = _EMBEDDING
        if theirs is not None and theirs in checkpoint:
            groups = config.heads // config.kv_heads
            given[name] = heads_moved(theirs, checkpoint.take(theirs), inner=groups, outer=config.kv_heads)
        elif not tensor.numel():  # no meta tokens
            given[name] = tensor
    _take_repeats(checkpoint, config, supernet.space.options["tied"])
    return given


def _check_same(config: CheckpointConfig, supernet: Supernet) -> None:
    """Raise `ValueError` when the networks differ in what the shapes of tensors do not tell."""
    options = supernet.space.options
    pairs = {
        "heads": (options["heads"], config.heads),
        "kv_heads": (max(options["kv_heads"]), config.kv_heads),
        "head_width": (options["head_width"], config.head_width),
        "epsilon": (options["epsilon"], config.epsilon),
        "rotary_base": (options["rotary_base"], config.rotary_base),
        "rotary_stretch": (_numbers(options["rotary_stretch"]), _numbers(config.rotary_stretch)),
    }
    different = [f"{name} {ours} of the space, {theirs} of the model" for name, (ours, theirs) in pairs.items()
                 if ours != theirs]  # fmt: skip
    if different:
        raise ValueError(f"the largest network of the space is another one than the model: {'; '.join(different)}")


def _numbers(stretch: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if stretch is None else tuple(stretch)


def _take_repeats(checkpoint: Checkpoint, config: CheckpointConfig, tied: bool) -> None:
    """Count as used what says the same as something else."""
    pairs = torch.arange(0, config.head_width, 2)
    known = {name: torch.pow(config.rotary_base, -pairs / config.head_width) for name in checkpoint.tensors
             if _CONSTANT.fullmatch(name)}  # fmt: skip
    if tied and _HEAD in checkpoint and _EMBEDDING in checkpoint:
        known[_HEAD] = checkpoint.tensors[_EMBEDDING]
    for name, value in known.items():
        found = checkpoint.tensors[name]
        if found.shape == value.shape and torch.allclose(found.float(), value.float(), rtol=1e-2):
            checkpoint.take(name)


#: `transformers`: what `save_pretrained` writes of the models in `FAMILIES`.
SOURCES: dict[str, Converter] = {"transformers": _convert}
