"""The bundle of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from nas.export.bundle import (
    DECODE_MODEL,
    GENERATE,
    GRAPH_WEIGHTS,
    PREFILL_MODEL,
    TOKENIZER,
    Bundle,
    history,
    verification,
    write_files,
)
from nas.export.shared_weights import share_weights
from search_spaces import Architecture

#: Files of the graphs by their names.
GRAPHS = {"prefill": PREFILL_MODEL, "decode": DECODE_MODEL}

_USAGE = """# {title}

A language model found by Nasmyth: {vocabulary:,} tokens, trained on sequences of {sequence_length} tokens{limit}.
{history}

```sh
pip install numpy onnxruntime tokenizers
python generate.py "Once upon a time" --temperature 0.8
```

or

```python
from generate import LanguageModel
for piece in LanguageModel(".").generate("Once upon a time", count=100):
    print(piece, end="", flush=True)
```

`prefill.onnx` reads a prompt, `tokens` of the shape (n, t), and gives the logits of what follows; `decode.onnx` reads one
further token, (n, 1). State goes from one to the other, and round: the outputs of both that end with `_next` are the
inputs of `decode.onnx` of the same names without it. A text begins with the token {end}. Both have their weights in
`weights.data`.

`manifest.json` tells where the network comes from, what was predicted of it and the hashes of all files;
`{verification}` checks the network on this machine.
"""


def write_language_bundle(
    path: Path,
    graphs: Mapping[str, onnx.ModelProto],
    tokenizer: str,
    network: nn.Module,
    architecture: Architecture,
    manifest: Mapping[str, Any],
) -> Bundle:
    """Write a bundle to `path`, in place of an older one.

    Args:
        path: of its directory.
        graphs: `prefill` and `decode`; they are changed.
        tokenizer: content of a tokenizer.json.
        network: whose weights are kept.
        architecture: of the network.
        manifest: what is known, without version and hashes; with the keys of such a bundle (see `bundle.LAYOUTS`).

    Raises:
        UsageError: when `path` holds something else than a bundle.
    """
    models, weights = share_weights({GRAPHS[name]: graph for name, graph in graphs.items()}, GRAPH_WEIGHTS)
    files = {
        **models,
        GRAPH_WEIGHTS: weights,
        TOKENIZER: tokenizer.encode(),
        GENERATE: (Path(__file__).parent / "generate.py").read_bytes(),
    }
    return write_files(path, files, network, architecture, _readme(path.name, manifest), manifest)


def _readme(title: str, manifest: Mapping[str, Any]) -> str:
    limit = "" if manifest["context"] is None else f", with room for {manifest['context']:,}"
    names = ("vocabulary", "sequence_length", "end")
    return _USAGE.format(
        title=title,
        limit=limit,
        history=history(manifest.get("finetuned")),
        verification=verification(manifest),
        **{name: manifest[name] for name in names},
    )
