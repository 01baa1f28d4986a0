"""A directory of safetensors files, as Hugging Face's transformers writes it: one file, or parts with an index."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

FILE = "model.safetensors"
INDEX = f"{FILE}.index.json"


def read_directory(directory: Path) -> dict[str, Tensor]:
    """All tensors by name. Other formats, which can hold code, are not read.

    Raises:
        ValueError: when there are no such files, a part is missing, or a part lacks what the index says.
    """
    if (directory / INDEX).is_file():
        return _parts(directory, _index(directory / INDEX))
    if (directory / FILE).is_file():
        return load_file(directory / FILE)
    raise ValueError(
        f"there is neither {FILE} nor {INDEX}; weights in other formats, such as pytorch_model.bin, are not read: "
        "save the model again with transformers' save_pretrained"
    )


def _index(file: Path) -> dict[str, str]:
    """The file of every tensor."""
    content = json.loads(file.read_text(encoding="utf-8"))
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ValueError(f"{file.name} has no weight_map of tensors and files")
    return found


def _parts(directory: Path, index: dict[str, str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(index.values())):
        if Path(name).name != name or Path(name).suffix != ".safetensors":
            raise ValueError(f"{INDEX} names {name!r}, which is no safetensors file in the same directory")
        if not (directory / name).is_file():
            raise ValueError(f"{name} is missing, which {INDEX} names")
        tensors |= load_file(directory / name)
    if lacking := sorted(index.keys() - tensors.keys()):
        raise ValueError(f"the files lack what {INDEX} names: {', '.join(lacking)}")
    return tensors
