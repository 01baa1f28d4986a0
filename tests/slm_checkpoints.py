"""Small language models of transformers with random weights, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import search_spaces
from search_spaces.slm.checkpoints import checkpoint_options
from search_spaces.supernet import Supernet

FAMILIES = ("Llama", "Qwen2", "Qwen3")

SIZES: dict[str, Any] = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 4,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    "max_position_embeddings": 77,
}


def model(family: str = "Llama", **sizes: Any) -> Any:
    """A model in which no tensor has its first value."""
    config = getattr(transformers, f"{family}Config")(**SIZES | sizes)
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return network


def saved(network: Any, directory: Path, **options: Any) -> Path:
    network.save_pretrained(directory, **options)
    return directory


def supernet_of(directory: Path, **options: Any) -> Supernet:
    """With the weights of a directory."""
    sizes = checkpoint_options(directory) | {"prefill": [6], "decode": [5]} | options
    supernet = search_spaces.get("hybrid-slm", **sizes).build_supernet().eval()
    found = supernet.load_pretrained("transformers", directory)
    assert found.is_complete, str(found)
    return supernet


def tokens(length: int = 9, rows: int = 3) -> Tensor:
    return torch.randint(SIZES["vocab_size"], (rows, length), generator=torch.Generator().manual_seed(1))


def logits(network: nn.Module, numbers: Tensor) -> Tensor:
    with torch.no_grad():
        result = network(numbers)
    return result if isinstance(result, Tensor) else result.logits


def loaded_by_transformers(directory: Path) -> Any:
    loaded: Any = transformers.AutoModelForCausalLM
    return loaded.from_pretrained(directory).eval()
