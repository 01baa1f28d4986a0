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
_PRESETS["efficientvmamba-t"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "stem": (48,),
    "stem_strides": (4,),
    "stem_kind": "patches",
    "widths": ((), (80, 96), (160, 192), (320, 384)),
    "strides": (0, 2, 2, 2),
    "depths": ((1, 2), (1, 2), (2, 4, 6), (1, 2, 3)),
    "first_kinds": ((), *(("patch_merging",),) * 3),
    "kinds": (("narrow_squeeze_mbconv", "selective_scan"),) * 4,
    "first_expansions": (4,),
    "expansions": (2, 4),
    "head": 0,
    "head_kind": "layer_norm",
    "activation": "relu",
}
_PRESETS["efficientmod-xxs"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "stem": (32,),
    "stem_strides": (4,),
    "stem_kind": "overlapping_patches",
    "widths": ((), (48, 64), (96, 128), (192, 256)),
    "strides": (0, 2, 2, 2),
    "depths": ((1, 2), (1, 2), (3, 5, 7), (2, 4)),
    "first_kinds": ((), *(("overlapping_patches",),) * 3),
    "kinds": (("modulation",),) * 2 + (("modulation", "transformer"),) * 2,
    "first_expansions": (1,),
    "expansions": (1, 4, 6),
    "head": 0,
    "head_kind": "layer_norm",
}
# Of the stages that end with a fusion the width is fixed: it reads what came in beside what came out, so a narrower one
# would not read the first channels of both.
_PRESETS["affnet-et"] = _PRESETS["images"] | {
    "resolutions": (256,),
    "widths": ((24, 32), (40, 48), (64,), (104,), (144,)),
    "strides": (1, 2, 2, 2, 2),
    "depths": ((0, 1), (0, 1, 2), (1, 2), (2, 3, 4), (1, 2, 3)),
    "first_kinds": (("mbconv",),) * 5,
    "kinds": (("mbconv",),) * 2 + (("fused_filters",),) * 3,
    "first_expansions": (2, 3),
    "expansions": (2, 3),
    "head": 576,
    "activation": "silu",
}
# EfficientViM without the classifiers that read the states of each stage, so the published networks are not in it.
_PRESETS["efficientvim"] = _PRESETS["images"] | {
    "resolutions": (224,),
    "stem": (16, 32, 64, 128),
    "stem_strides": (2, 2, 2, 2),
    "widths": ((), (160, 192), (256, 320)),
    "strides": (0, 2, 2),
    "depths": ((1, 2, 3), (1, 2, 3), (1, 2, 3)),
    "first_kinds": ((), ("depthwise_merging",), ("depthwise_merging",)),
    "kinds": (("conv_ffn", "state_mixer"),) * 3,
    "first_expansions": (3, 4),
    "expansions": (2, 4),
    "head": 0,
    "head_kind": "layer_norm",
    "activation": "relu",
}

#: Of options that a preset leaves out: older ones keep the fingerprints that they had before these options.
DEFAULTS: Mapping[str, Any] = {"stem_kind": "convolutions", "head_kind": "convolution"}


def preset_options(name: str) -> dict[str, Any]:
    """A copy of the options of that name.

    Raises:
        ValueError: when there is no such preset.
    """
    if name not in _PRESETS:
        raise ValueError(f"unknown preset {name!r}{nearest(name, _PRESETS)}; there are {', '.join(_PRESETS)}")
    return dict(_PRESETS[name])


#: Blocks as pairs of kind and expansion.
_Blocks = tuple[tuple[str, int], ...]


def _blocks(expansion: int, *kinds: str) -> _Blocks:
    return tuple((kind, expansion) for kind in kinds)


def _network(stages: Sequence[_Blocks], widths: Sequence[int] = (), resolution: int = 224) -> dict[str, Value]:
    """Values of a network.

    Args:
        stages: the blocks of each stage after its first.
        widths: of stages, those that are 0 are not set; none are by default.
        resolution: of the images.
    """
    values: dict[str, Value] = {"resolution": resolution}
    values |= {f"stage{stage}_width": width for stage, width in enumerate(widths, start=1) if width}
    for stage, blocks in enumerate(stages, start=1):
        values[f"stage{stage}_depth"] = len(blocks)
        for layer, (kind, expansion) in enumerate(blocks, start=1):
            values[f"stage{stage}_block{layer}_kind"] = kind
            values[f"stage{stage}_block{layer}_expansion"] = expansion
    return values


_CPUBONE = _blocks(4, "small_kernel_attention", "small_kernel")
_SINGLE = "single_head_attention"
_SCANS = _blocks(2, "selective_scan", "selective_scan")
_MODULATION: _Blocks = (("modulation", 1), ("modulation", 6))

#: Published networks by the preset in which they are.
NAMED: Mapping[str, Mapping[str, Value]] = {
    "cpubone-nano": _network([(), (), _CPUBONE, _CPUBONE * 2]),
    "lowformer-b0": _network(
        [(), (), _blocks(4, "conv_attention", "fused") * 3, _blocks(4, "conv_attention", "mbconv") * 4]
    ),
    "shvit-s1": _network(
        [
            _blocks(2, *("conv_ffn",) * 3),
            _blocks(2, "conv_ffn", *(_SINGLE,) * 4, "conv_ffn"),
            _blocks(2, "conv_ffn", *(_SINGLE,) * 5),
        ]
    ),
    "efficientvmamba-t": _network(
        [_SCANS, _SCANS, _blocks(4, "narrow_squeeze_mbconv") * 4, _blocks(4, "narrow_squeeze_mbconv") * 2],
        widths=(0, 96, 192, 384),
    ),
    "efficientmod-xxs": _network(
        [
            _MODULATION,
            _MODULATION,
            _MODULATION * 3 + _blocks(4, "transformer"),
            _MODULATION + _blocks(4, "transformer", "transformer"),
        ],
        widths=(0, 64, 128, 256),
    ),
    "affnet-et": _network(
        [(), _blocks(2, "mbconv") * 2, *((("fused_filters", 2),),) * 3],
        widths=(32, 48),
        resolution=256,
    )
    | {"stage3_depth": 2, "stage4_depth": 4, "stage5_depth": 3},
}
