"""The hybrid space: published networks, presets, and options that are impossible."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import search_spaces
from search_spaces import SearchSpace
from search_spaces.hybrid.blocks import KINDS, Place


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        # Nottebaum et al., CPUBone, arXiv:2603.26425, and the table of tiny backbones in its authors' repository
        # (altair199797/CPUBone): 6.52 M, 190 M, counted by ptflops, which adds some for normalisation.
        ("cpubone-nano", 6.52e6, 190e6),
        # Nottebaum et al., LowFormer, WACV 2025, and its authors' repository (altair199797/LowFormer): 14.1 M, 944 M.
        ("lowformer-b0", 14.1e6, 944e6),
        # Yun and Ro, SHViT, CVPR 2024: 6.3 M, 241 M.
        ("shvit-s1", 6.3e6, 241e6),
    ],
)
def test_published_networks_have_the_published_size(name: str, parameters: float, macs: float) -> None:
    space = search_spaces.get("efficient-hybrid", preset=name)
    architecture = space.architecture(name)
    codes = space.codes([architecture])
    assert space.parameters(codes)[0] == pytest.approx(parameters, rel=0.02)
    assert space.macs(codes)[0] == pytest.approx(macs, rel=0.02)
    with torch.no_grad():
        logits = space.build(architecture).eval()(torch.randn(1, 3, 224, 224))
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()
    assert space.size > 1000


def test_cpubone_uses_what_its_name_says() -> None:
    """Half and a quarter of the weights of a 3x3 convolution without groups."""
    space = search_spaces.get("efficient-hybrid", preset="cpubone-nano")
    ops = space.workload(space.architecture("cpubone-nano")).ops
    grouped = [op for op in ops if op.kind == "conv" and dict(op.attributes)["groups"] == 2]
    assert {op.weights[0][2:] for op in grouped} == {(3, 3), (2, 2)}
    small = [op for op in grouped if op.weights[0][2:] == (2, 2)]
    assert all(dict(op.attributes)["padding"] == (1, 1, 0, 0) for op in small)
    assert all(op.shapes[0][2:] == op.output_shape[2:] for op in small)
    assert not any(op.kind == "pad" for op in ops)


def test_a_published_network_is_named_as_long_as_it_is_there() -> None:
    assert search_spaces.get("efficient-hybrid", preset="shvit-s1", classes=10).named.keys() == {"shvit-s1"}
    assert not search_spaces.get("efficient-hybrid", preset="shvit-s1", resolutions=(160,)).named
    assert not search_spaces.get("efficient-hybrid").named


def test_kinds_without_hidden_channels_have_no_expansion() -> None:
    space = search_spaces.get("efficient-hybrid", preset="efficientmod-xxs")
    assert "stage2_first_expansion" not in {choice.name for choice in space.choices}
    kinds = {"first_kinds": (("fused", "patch_merging"),) * 3}
    mixed = search_spaces.get("efficient-hybrid", preset="small-images", **kinds)
    (expansion,) = (choice for choice in mixed.choices if choice.name == "stage2_first_expansion")
    assert expansion.requires == ("stage2_first_kind", ("fused",))


def test_a_kind_that_is_a_whole_stage_has_one_slot() -> None:
    space = search_spaces.get("efficient-hybrid", preset="affnet-et")
    blocks = [slot.name for slot in space.slots if "block" in slot.name]
    assert blocks == ["stage1_block1", "stage2_block1", "stage2_block2", *(f"stage{n}_block1" for n in (3, 4, 5))]
    without = search_spaces.get("efficient-hybrid", preset="affnet-et", depths=((0,),) * 5)
    assert [slot.name for slot in without.slots] == ["stem", *(f"stage{n}_first" for n in range(1, 6)), "head"]


@pytest.mark.parametrize("name", ["images", "efficientvmamba-t"])
def test_options_make_the_same_space(name: str) -> None:
    space = search_spaces.get("efficient-hybrid", preset=name)
    assert search_spaces.get(space.name, **space.options).fingerprint == space.fingerprint
    other = search_spaces.get("efficient-hybrid", preset=name, stem_kind="convolutions")
    assert search_spaces.get(other.name, **other.options).fingerprint == other.fingerprint


def values(space: SearchSpace, name: str) -> tuple[Any, ...]:
    return next(choice.options for choice in space.choices if choice.name == name)


def test_presets() -> None:
    """Attention in late stages only, and about 40 million MACs at most for small images."""
    images = search_spaces.get("efficient-hybrid")
    small = search_spaces.get("efficient-hybrid", preset="small-images")
    attention = {kind for kind in KINDS if "attention" in kind}
    assert attention.isdisjoint(values(images, "stage2_block1_kind"))
    assert attention <= {*values(images, "stage3_block1_kind")}
    assert attention <= {*values(small, "stage3_block1_kind")}
    assert images.size > 1e15
    assert small.size > 1e9
    ends = small.macs(small.codes([small.smallest(), small.largest()]))
    assert 1e6 < ends[0] < 1e7
    assert 2e7 < ends[1] < 4.1e7
    assert max(values(small, "stage3_width")) <= 128


@pytest.mark.parametrize(("pixels", "stride"), [(7, 1), (8, 1), (9, 2), (14, 2), (28, 4), (56, 4)])
def test_attention_looks_at_small_images(pixels: int, stride: int) -> None:
    assert Place(16, 16, 2, 3, 1, 5, pixels, "relu").attention_stride == stride


@pytest.mark.parametrize(("pixels", "states"), [(14, 49), (7, 25), (4, 9), (28, 49)])
def test_states_are_those_of_the_paper(pixels: int, states: int) -> None:
    assert Place(16, 16, 2, 3, 1, 5, pixels, "relu").states == states


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "imags"}, "unknown preset 'imags'.*did you mean 'images'"),
        ({"widths": ((24,),)}, "one entry for each stage"),
        ({"stem": (16, 16)}, "one entry for each convolution"),
        ({"stem": (), "stem_strides": ()}, "one at least"),
        ({"activation": "tanh"}, "activation is one of relu, hardswish, silu, not 'tanh'"),
        ({"resolutions": ()}, "resolutions must be positive numbers"),
        ({"expansions": (0, 2)}, "expansions must be positive numbers"),
        ({"classes": 0}, "classes must be positive"),
        ({"kernels": (2, 3)}, "kernels must be odd"),
        ({"head": -1}, "head and features must be 0 or more"),
        ({"depths": ((1,), (1,), (-1,))}, "0 or more"),
        ({"depths": ((1,), (1,), ())}, "0 or more"),
        ({"strides": (2, 2, 0)}, "must be empty"),
        ({"widths": ((24,), (48,), (6,))}, "8 channels or more"),
        ({"first_kinds": (("fused",), ("fused",), ())}, "a kind of first block"),
        ({"kinds": (("fused",), ("fused",), ())}, "needs a kind"),
        ({"kinds": (("fused",), ("fused",), ("fuse",))}, "unknown kind of block 'fuse'.*did you mean 'fused'"),
        ({"first_kinds": (("fused",), ("fused",), ("conv_attention",))}, "'conv_attention' cannot change the number"),
        ({"widths": ((24,), (48,), (68,))}, "blocks of kind 'frequency_filter' need a multiple of 8 channels, not 68"),
        ({"stem": (15,)}, "blocks of kind 'grouped' need a multiple of 2 channels, not 15"),
        ({"widths": (("a",), (48,), (64,))}, "cannot be made"),
        ({"stem_kind": "patch"}, "stem_kind is one of convolutions, patches, overlapping_patches, not 'patch'"),
        ({"stem_kind": "patches", "stem": (8, 16), "stem_strides": (2, 2)}, "'patches' is one convolution, not 2"),
        ({"head_kind": "mean"}, "head_kind is one of convolution, layer_norm, not 'mean'"),
        ({"head_kind": "layer_norm"}, "head and features must be 0"),
        ({"kinds": (("fused",), ("fused",), ("fused_filters", "fused"))}, "the only one of its stage"),
    ],
)
def test_impossible_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("efficient-hybrid", **{"preset": "small-images", **options})
