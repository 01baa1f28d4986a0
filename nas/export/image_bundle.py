"""The bundle of a network that classifies images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from nas.export.bundle import MODEL, Bundle, history, verification, write_files
from search_spaces import Architecture

_USAGE = """# {title}

An image classifier found by Nasmyth, for images of {height} x {width} pixels and {channels} channel(s).
{history}

```python
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(None, {{"{name}": ((images / 255 - {mean}) / {std}).astype(np.float32)}})[0]
```

`images` has the shape (n, {channels}, {height}, {width}) and values from 0 to 255; the classes are
{classes}.

`manifest.json` tells where the network comes from, what was predicted of it and the hashes of all files;
`{verification}` checks the network on this machine.
"""


def write_bundle(
    path: Path, model: bytes, network: nn.Module, architecture: Architecture, manifest: Mapping[str, Any]
) -> Bundle:
    """Write a bundle to `path`, in place of an older one.

    Args:
        path: of its directory.
        model: the ONNX model.
        network: whose weights are kept.
        architecture: of the network.
        manifest: what is known, without version and hashes; with `input` (name, shape, mean, std) and `classes`.

    Raises:
        UsageError: when `path` holds something else than a bundle.
    """
    return write_files(path, {MODEL: model}, network, architecture, _readme(path.name, manifest), manifest)


def _readme(title: str, manifest: Mapping[str, Any]) -> str:
    shape = manifest["input"]["shape"]
    return _USAGE.format(
        title=title,
        history=history(manifest.get("finetuned")),
        verification=verification(manifest),
        name=manifest["input"]["name"],
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        mean=_array(manifest["input"]["mean"]),
        std=_array(manifest["input"]["std"]),
        classes=", ".join(manifest["classes"]),
    )


def _array(values: list[float]) -> str:
    rounded = json.dumps([round(value, 6) for value in values])
    return f"np.array({rounded}).reshape(-1, 1, 1)"
