"""Published language models: the order of their layers, and the sizes of some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.slm.mixers import KINDS
from search_spaces.space import Value

_C, _A, _D, _M, _W = "short_convolution", "attention", "delta_net", "mamba2", "sliding_window"

#: Mixers from the first layer on, repeated when there are more layers. A feed-forward follows each, as published but for
#: BASED, of which only the kinds of layer and roughly their shares are.
ORDERS: Mapping[str, tuple[str, ...]] = {
    # Touvron et al., "LLaMA: Open and efficient foundation language models", 2023.
    "llama": (_A,),
    # Liquid AI, "LFM2 technical report", 2025; of LFM2-1.2B.
    "lfm2": (_C, _C, _A, _C, _C, _A, _C, _C, _A, _C, _A, _C, _A, _C, _A, _C),
    # Fu et al., "Nemotron-Flash: Towards latency-optimal hybrid small language models", NeurIPS 2025; of the 3B model.
    "nemotron-flash": ((_D, _M, _A, _M) * 3 + (_D, _M) * 3),
    # Arora et al., "Simple linear attention language models balance the recall-throughput tradeoff", ICML 2024.
    "based": (_C, "based", _C, _W, _C),
    # Wei et al., "RAT", NeurIPS 2025: chunks beside a local window.
    "rat": ("rat", _W),
}

#: Options of spaces by the model or the family whose sizes they have.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "llama-3.2-1b": {
        "vocabulary": 128_256, "widths": (2048,), "depths": (16,), "mixers": (_A,), "heads": 32, "kv_heads": (8,),
        "ratios": (4,), "epsilon": 1e-5, "prefill": (2048,), "decode": (2048,),
    },
    "lfm2-1.2b": {
        "vocabulary": 65_536, "widths": (2048,), "depths": (16,), "mixers": (_C, _A), "heads": 32, "kv_heads": (8,),
        "ratios": (4,), "epsilon": 1e-5, "prefill": (2048,), "decode": (2048,),
    },
    "mamba2-1.3b": {
        "vocabulary": 50_288, "widths": (2048,), "depths": (48,), "mixers": (_M,), "heads": 64, "states": (128,),
        "ratios": (0,), "epsilon": 1e-5, "prefill": (2048,), "decode": (2048,),
    },
    # From one to three billion parameters, with the layers that Nemotron-Flash chooses from.
    "billions": {
        "vocabulary": 131_072, "widths": (2048, 2560, 3072), "depths": (12, 18), "heads": 32,
        "mixers": ("skip", _C, "gated_delta_net", _M, _D, _W, _A), "kv_heads": (8,), "windows": (512, 2048),
        "states": (64, 128), "ratios": (2, 3), "meta_tokens": (0, 256), "prefill": (2048,), "decode": (2048, 8192),
    },
}  # fmt: skip


def named(options: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
    """Those of `ORDERS` that a space of these options has, and networks whose layers all have one mixer, called
    `uniform-...`; the largest of each, without meta tokens where that can be chosen."""
    orders = {
        **ORDERS,
        **{f"uniform-{kind.replace('_', '-')}": (kind,) for kind in KINDS if (kind,) != ORDERS["llama"]},
    }
    return {name: _values(order, options) for name, order in orders.items() if set(order) <= set(options["mixers"])}


def _values(order: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Value]:
    depth = max(options["depths"])
    largest = {"kv_heads": max(options["kv_heads"]), "window": max(options["windows"]), "state": max(options["states"])}
    values: dict[str, Value] = {"width": max(options["widths"]), "depth": depth}
    values["meta_tokens"] = min(options["meta_tokens"])
    for layer in range(depth):
        kind = order[layer % len(order)]
        values[f"layer{layer + 1}_mixer"] = kind
        values |= {f"layer{layer + 1}_{size}": largest[size] for size in KINDS[kind].choices}
        values[f"layer{layer + 1}_ratio"] = max(options["ratios"])
    return values
