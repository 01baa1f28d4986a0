"""The contract of a search space, for the hybrid space at small configurations that have all kinds of block."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace
from search_spaces.hybrid.blocks import KINDS


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
            kinds=(("mbconv", "squeeze_mbconv", "grouped", "fused"), tuple(KINDS)),
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
