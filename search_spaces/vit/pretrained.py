"""Weights of vision transformers under the names of timm and of Hugging Face's transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from search_spaces.pretrained import Checkpoint, Converter

if TYPE_CHECKING:
    from search_spaces.supernet import Supernet

# Of a source: its names by ours. {} is the number of a layer, from 0. Where several of our layers have the same name
# there, its rows are divided among them.
_VIT = {
    "patch.project": "patch_embed.proj",
    "patch.token.weight": "cls_token",
    "patch.positions.weight": "pos_embed",
    "attention.norm": "blocks.{}.norm1",
    "attention.query": "blocks.{}.attn.qkv",
    "attention.key": "blocks.{}.attn.qkv",
    "attention.value": "blocks.{}.attn.qkv",
    "attention.out": "blocks.{}.attn.proj",
    "feed_forward.norm": "blocks.{}.norm2",
    "feed_forward.expand": "blocks.{}.mlp.fc1",
    "feed_forward.project": "blocks.{}.mlp.fc2",
    "classifier.norm": "norm",
    "classifier.linear": "head",
}
_TRANSFORMERS = {
    "patch.project": "vit.embeddings.patch_embeddings.projection",
    "patch.token.weight": "vit.embeddings.cls_token",
    "patch.positions.weight": "vit.embeddings.position_embeddings",
    "attention.norm": "vit.encoder.layer.{}.layernorm_before",
    "attention.query": "vit.encoder.layer.{}.attention.attention.query",
    "attention.key": "vit.encoder.layer.{}.attention.attention.key",
    "attention.value": "vit.encoder.layer.{}.attention.attention.value",
    "attention.out": "vit.encoder.layer.{}.attention.output.dense",
    "feed_forward.norm": "vit.encoder.layer.{}.layernorm_after",
    "feed_forward.expand": "vit.encoder.layer.{}.intermediate.dense",
    "feed_forward.project": "vit.encoder.layer.{}.output.dense",
    "classifier.norm": "vit.layernorm",
    "classifier.linear": "classifier",
}


def _places(supernet: Supernet) -> Iterator[tuple[str, str, str]]:
    """Of every tensor of a supernet: its name, the same without numbers and class, and the number of its layer."""
    for name in supernet.state_dict():
        _, slot, _, rest = name.split(".", 3)
        kind, number, part = re.fullmatch(r"([a-z]+)(\d*)_?(\w*)", slot).groups()  # type: ignore[union-attr]
        yield name, f"{part or kind}.{rest}", str(int(number) - 1) if part else ""


def _convert(names: Mapping[str, str], checkpoint: Checkpoint, supernet: Supernet) -> dict[str, Tensor]:
    """What the checkpoint has for the tensors of a supernet, by the names there."""
    found: dict[str, Tensor] = {}
    for name, place, layer in _places(supernet):
        part, _, tensor = place.rpartition(".")
        theirs = names.get(place) or f"{names.get(part, '')}.{tensor}"
        source = theirs.format(layer)
        if source not in checkpoint:
            continue
        sharing = [ours for ours, other in names.items() if other == names.get(part)]
        rows = checkpoint.take(source)
        found[name] = rows.chunk(len(sharing))[sharing.index(part)] if len(sharing) > 1 else rows
    return found


#: `vit`: timm, and DeiT without distillation. `transformers`: what `ViTForImageClassification` saves.
SOURCES: dict[str, Converter] = {"vit": partial(_convert, _VIT), "transformers": partial(_convert, _TRANSFORMERS)}
