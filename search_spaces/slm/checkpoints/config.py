"""The configuration of a language model of transformers: `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.slm.attention import BASE
from search_spaces.slm.rotation import Stretch
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
        rotary_stretch: of the rotation, if any.
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
    rotary_stretch: Stretch | None

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
            **_rotation(content),
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
            "rope_scaling": None if self.rotary_stretch is None else _llama3(self.rotary_stretch),
            **_FIXED,
        }


#: The numbers of a stretch by their names in a configuration.
_STRETCH = {
    "factor": "factor",
    "low_freq_factor": "low",
    "high_freq_factor": "high",
    "original_max_position_embeddings": "context",
}


def _rotation(content: Mapping[str, Any]) -> dict[str, Any]:
    """Base and stretch of configurations of transformers 5 (`rope_parameters`) and before (`rope_theta`, `rope_scaling`)."""
    parameters = content.get("rope_parameters") or content.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise ValueError(f"rotary positions of the type {kind!r} are not supported, only 'default' and 'llama3'")
    numbers = {ours: float(parameters[theirs]) for theirs, ours in _STRETCH.items()} if kind == "llama3" else None
    return {
        "rotary_base": float(parameters.get("rope_theta", content.get("rope_theta", BASE))),
        "rotary_stretch": None if numbers is None else Stretch(**numbers),
    }


def _llama3(stretch: Stretch) -> dict[str, Any]:
    numbers = stretch._asdict() | {"context": round(stretch.context)}  # transformers wants an integer
    return {"rope_type": "llama3", **{theirs: numbers[ours] for theirs, ours in _STRETCH.items()}}
