"""Options of hybrid spaces that are known by a name, and the published networks in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import Value, nearest

_CONVOLUTIONS = ("mbconv", "grouped", "fused")
_LOCAL = ("conv_ffn", "mbconv", "modulation", "small_kernel", "grouped", "fused")
#: All but squeeze-excite: the others change the size of images, mix what is far apart, or both.
_ALL = (*_LOCAL, "single_head_attention", "state_mixer", "frequency_filter", "selective_scan", "small_kernel_attention",
        "conv_attention")  # fmt: skip

_PRESETS: dict[str, dict[str, Any]] = {
    "images": {
        "resolutions": (160, 192, 224),
        "in_channels": 3,
        "classes": 1000,
        "stem": (16,),
        "stem_strides": (2,),
        "widths": ((24, 32), (48, 64), (96, 128, 160), (192, 256)),
        "strides": (2, 2, 2, 2),
        "depths": ((0, 1), (0, 1, 2), (1, 2, 3, 4), (1, 2, 3, 4)),
        "first_kinds": (_CONVOLUTIONS,) * 4,
        "kinds": (_LOCAL, _LOCAL, _ALL, _ALL),
        "kernels": (3, 5),
        "first_expansions": (3, 4),
        "expansions": (2, 3, 4),
        "head": 960,
        "features": 0,
        "activation": "hardswish",
    },
    "small-images": {
        "resolutions": (32,),
        "in_channels": 3,
        "classes": 10,
        "stem": (16,),
        "stem_strides": (1,),
        "widths": ((16, 24), (32, 48), (64, 96, 128)),
        "strides": (2, 2, 2),
        "depths": ((0, 1), (1, 2, 3), (1, 2)),
        "first_kinds": (_CONVOLUTIONS,) * 3,
        "kinds": (_LOCAL, _ALL, _ALL),
        "kernels": (3, 5),
        "first_expansions": (3, 4),
        "expansions": (2, 3),
        "head": 256,
        "features": 0,
        "activation": "hardswish",
    },
}
_PRESETS["cpubone-nano"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "stem": (12,),
    "widths": ((24,), (48,), (96,), (192,)),
    "depths": ((0,), (0,), (0, 2), (2, 4, 6)),
    "first_kinds": (("grouped",),) * 4,
    "kinds": ((), (), ("small_kernel_attention", "small_kernel"), ("small_kernel_attention", "small_kernel")),
    "first_expansions": (4,),
    "expansions": (2, 4),
    "head": 1536,
    "features": 1600,
}
_PRESETS["lowformer-b0"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "widths": ((32,), (64,), (128,), (256,)),
    "depths": ((0,), (0,), (2, 4, 6), (4, 6, 8)),
    "first_kinds": (("fused",),) * 4,
    "kinds": ((), (), ("mbconv", "conv_attention", "fused"), ("mbconv", "conv_attention", "fused")),
    "kernels": (3,),
    "first_expansions": (4,),
    "expansions": (2, 4),
    "head": 1536,
    "features": 1600,
}
_PRESETS["shvit-s1"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "stem": (16, 32, 64, 128),
    "stem_strides": (2, 2, 2, 2),
    "widths": ((), (224,), (320,)),
    "strides": (0, 2, 2),
    "depths": ((1, 2, 3), (2, 4, 6), (2, 4, 6)),
    "first_kinds": ((), ("squeeze_mbconv",), ("squeeze_mbconv",)),
    "kinds": (("conv_ffn",),) + (("conv_ffn", "single_head_attention"),) * 2,
    "first_expansions": (4,),
    "expansions": (1, 2),
    "head": 0,
    "activation": "relu",
}


def preset_options(name: str) -> dict[str, Any]:
    """A copy of the options of that name.

    Raises:
        ValueError: when there is no such preset.
    """
    if name not in _PRESETS:
        raise ValueError(f"unknown preset {name!r}{nearest(name, _PRESETS)}; there are {', '.join(_PRESETS)}")
    return dict(_PRESETS[name])


def _network(kinds: Sequence[Sequence[str]], expansion: int) -> dict[str, Value]:
    """Values of a network of one resolution and width.

    Args:
        kinds: of the blocks of each stage after its first.
        expansion: of these blocks.
    """
    values: dict[str, Value] = {"resolution": 224}
    for stage, blocks in enumerate(kinds, start=1):
        values[f"stage{stage}_depth"] = len(blocks)
        for layer, kind in enumerate(blocks, start=1):
            values[f"stage{stage}_block{layer}_kind"] = kind
            values[f"stage{stage}_block{layer}_expansion"] = expansion
    return values


_SINGLE = "single_head_attention"

#: Published networks by the preset in which they are.
NAMED: Mapping[str, Mapping[str, Value]] = {
    "cpubone-nano": _network([(), (), ("small_kernel_attention", "small_kernel"), ("small_kernel_attention", "small_kernel") * 2], 4),
    "lowformer-b0": _network([(), (), ("conv_attention", "fused") * 3, ("conv_attention", "mbconv") * 4], 4),
    "shvit-s1": _network([("conv_ffn",) * 3, ("conv_ffn", *(_SINGLE,) * 4, "conv_ffn"), ("conv_ffn", *(_SINGLE,) * 5)], 2),
}  # fmt: skip
