"""The configuration of a language model of transformers: `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.slm.attention import BASE
from search_spaces.space import nearest

FILE = "config.json"

#: What is computed one way only: keys of a configuration, and their value, which is also that of a missing key.
_FIXED: Mapping[str, Any] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
}


@dataclass(frozen=True)
class Family:
    """Models that only differ in their sizes.

    Attributes:
        bias: whether queries, keys and values have one.
        norm: whether queries and keys are normalised in every head.
        model: the class in transformers.
    """

    bias: bool
    norm: bool
    model: str


#: By the `model_type` in their configuration.
FAMILIES: Mapping[str, Family] = {
    "llama": Family(False, False, "LlamaForCausalLM"),
    "qwen2": Family(True, False, "Qwen2ForCausalLM"),
    "qwen3": Family(False, True, "Qwen3ForCausalLM"),
}


@dataclass(frozen=True)
class CheckpointConfig:
    """What a model is made of.

    Attributes:
        family: one of `FAMILIES`.
        vocabulary: number of tokens.
        width: of a token.
        hidden: units of every feed-forward.
        layers: how many there are.
        heads: of queries.
        kv_heads: of keys and values.
        head_width: features of a head.
        tied: whether the head reads the table of the embedding.
        epsilon: of normalisation.
        rotary_base: of the rotation.
    """

    family: str
    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    tied: bool
    epsilon: float
    rotary_base: float

    @classmethod
    def read(cls, directory: str | Path) -> CheckpointConfig:
        """Read `config.json` of a directory.

        Raises:
            ValueError: when it is missing or damaged, or is that of a model which cannot be represented here.
        """
        file = Path(directory) / FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is no JSON object")
            return cls._of(content)
        except FileNotFoundError as error:
            raise ValueError(f"{file} is missing: a checkpoint is a directory with it and safetensors files") from error
        except KeyError as error:
            raise ValueError(f"{file} has no value for {error}") from error
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{file}: {error}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> CheckpointConfig:
        family = str(content.get("model_type"))
        if family not in FAMILIES:
            raise ValueError(
                f"model_type {family!r} is none of those that can be read{nearest(family, FAMILIES)}: {', '.join(FAMILIES)}"
            )
        for key, value in _FIXED.items():
            if content.get(key, value) != value:
                raise ValueError(f"{key} = {content[key]!r} is not supported, only {value!r}")
        heads, width = int(content["num_attention_heads"]), int(content["hidden_size"])
        return cls(
            family=family,
            vocabulary=int(content["vocab_size"]),
            width=width,
            hidden=int(content["intermediate_size"]),
            layers=int(content["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(content.get("num_key_value_heads") or heads),
            head_width=int(content.get("head_dim") or width // heads),
            tied=bool(content.get("tie_word_embeddings", False)),
            epsilon=float(content["rms_norm_eps"]),
            rotary_base=_rotary_base(content),
        )

    def to_dict(self) -> dict[str, Any]:
        """What transformers needs to know, as JSON."""
        return {
            "architectures": [FAMILIES[self.family].model],
            "model_type": self.family,
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "tie_word_embeddings": self.tied,
            "rms_norm_eps": self.epsilon,
            # The older key, which versions before 5 read, and the newer ones take over.
            "rope_theta": self.rotary_base,
            **_FIXED,
        }


def _rotary_base(content: Mapping[str, Any]) -> float:
    """Of the configurations of transformers 5 (`rope_parameters`) and before (`rope_theta` and `rope_scaling`)."""
    parameters = content.get("rope_parameters") or content.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise ValueError(f"rotary positions of the type {kind!r} are not supported, only 'default'")
    return float(parameters.get("rope_theta", content.get("rope_theta", BASE)))
