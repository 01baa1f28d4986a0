"""A network of attention and feed-forwards as a directory that transformers loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from search_spaces.safetensors_directory import FILE as WEIGHTS
from search_spaces.slm.checkpoints.config import FILE, CheckpointConfig
from search_spaces.slm.checkpoints.uniform import as_model

#: What a model has beside weights and sizes.
_COMPANIONS = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template*",
               "generation_config.json")  # fmt: skip

#: Of the original configuration: what is written in other words, or has an entry for each layer.
_REPLACED = ("rope_parameters", "rope_scaling", "layer_types", "torch_dtype", "transformers_version")

#: Without an original there are no tokens that begin or end a text.
_UNKNOWN: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}


def export_checkpoint(network: nn.Sequential, directory: str | Path, original: str | Path | None = None) -> None:
    """Write a network of `hybrid-slm` so that `AutoModelForCausalLM.from_pretrained(directory)` computes the same.

    Its layers may have attention of any number of heads, or none, and feed-forwards of any number of hidden units, or
    none. Models of transformers have the same sizes in all layers: smaller ones are filled up with zeros to the largest,
    which changes no logit, but takes the memory and time of the largest. A network whose layers are equal is written as
    it is, but for Llama's rule that the heads of queries divide the width.

    Args:
        network: extracted from a supernet.
        directory: is made; it may be there when it is empty. It appears when it is complete.
        original: the directory of the model that the network comes from. Its tokenizer is copied, and what its
            configuration says beside sizes is kept, such as the longest sequence and the token that ends one.

    Raises:
        ValueError: when transformers has no such network: layers that mix tokens in another way, no attention at all, or
            meta tokens; when the original cannot be read; or when the directory is not empty.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} is there already; name one that is not, or that is empty")
    config, tensors = as_model(network)
    content = {**_UNKNOWN, **_kept(original), **config.to_dict(), "dtype": "float32"}
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for file in _companions(original):
        shutil.copyfile(file, partial / file.name)
    save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
    partial.replace(directory)


def _kept(original: str | Path | None) -> dict[str, Any]:
    """What the configuration of a model says that does not depend on its sizes."""
    if original is None:
        return {}
    CheckpointConfig.read(original)  # says what is wrong with it
    content = json.loads((Path(original) / FILE).read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in _REPLACED}


def _companions(original: str | Path | None) -> Iterator[Path]:
    if original is not None:
        for pattern in _COMPANIONS:
            yield from sorted(Path(original).glob(pattern))
