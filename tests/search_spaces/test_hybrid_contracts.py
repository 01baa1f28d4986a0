"""The contract of a search space, for the hybrid space at small configurations that have all kinds of block and end."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace
from search_spaces.hybrid.blocks import KINDS

#: Kinds of the families of mixers, which `TestHybridOfMixers` has.
OF_MIXERS = (
    "patch_merging", "overlapping_patches", "depthwise_merging", "narrow_squeeze_mbconv", "transformer", "fused_filters"
)  # fmt: skip


class TestHybridOfSmallImages(SearchSpaceContract):
    """All kinds that keep the shape, elastic width, depth, expansion and kernel; attention at its input's size."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "efficient-hybrid",
            preset="small-images",
            resolutions=(8,),
            in_channels=1,
            stem=(8,),
            widths=((16, 24), (64, 80)),
            strides=(1, 2),
            depths=((0, 1), (1,)),
            first_kinds=(("mbconv", "grouped", "fused"), ("squeeze_mbconv", "small_kernel")),
            kinds=(
                ("mbconv", "squeeze_mbconv", "grouped", "fused"),
                tuple(kind for kind in KINDS if kind not in OF_MIXERS),
            ),
            expansions=(1, 2),
            head=24,
            features=16,
        )


class TestHybridOfImages(SearchSpaceContract):
    """Elastic resolution, some of it odd, with smaller images for attention; several convolutions first; no layer
    beside the classifier; a stage without a first block."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "efficient-hybrid",
            resolutions=(36, 50, 64),
            classes=7,
            stem=(8, 12),
            stem_strides=(2, 2),
            widths=((), (16, 24)),
            strides=(0, 2),
            depths=((1,), (0, 1)),
            first_kinds=((), ("mbconv",)),
            kinds=(("conv_attention", "small_kernel_attention"), ("conv_attention", "small_kernel", "small_kernel_attention",
                   "single_head_attention", "state_mixer", "frequency_filter")),
            expansions=(2, 3),
            head=0,
            features=0,
            activation="relu",
        )  # fmt: skip


class TestHybridOfMixers(SearchSpaceContract):
    """Ends with layer normalisation, stages that begin with patches (of odd sizes, too) and kinds without hidden
    channels, a stage that is a single module of elastic depth."""

    random_architectures = 5

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "efficient-hybrid",
            preset="efficientvmamba-t",
            resolutions=(18, 24),
            classes=5,
            stem=(8,),
            widths=((), (12, 16), (16, 24)),
            strides=(0, 2, 2),
            depths=((0, 1), (0, 1), (1, 2)),
            first_kinds=((), ("patch_merging", "overlapping_patches", "depthwise_merging"), ("patch_merging",)),
            kinds=(("narrow_squeeze_mbconv", "modulation"), ("transformer", "patch_merging"), ("fused_filters",)),
            first_expansions=(1, 2),
            expansions=(1, 2),
        )
