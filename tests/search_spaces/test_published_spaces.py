"""The contract of a search space, for the spaces of published convolutional networks at small sizes."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace


class TestMnasnetOfDigits(SearchSpaceContract):
    """All operations with and without squeeze-excite, all skips, a block that may have one layer, strides of 1 and 2."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mnasnet",
            resolutions=(8,),
            in_channels=1,
            classes=5,
            stem=8,
            stem_stride=1,
            filters=((6, 8), (12,)),
            strides=(1, 2),
            depths=((1, 2), (1, 2)),
            head=24,
        )


class TestProxylessNasOfDigits(SearchSpaceContract):
    """Two sets of widths, three kernels, layers that are left out."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "proxylessnas",
            resolutions=(9,),
            in_channels=1,
            classes=5,
            stem_stride=1,
            widths={"narrow": (8, 4, 6, 8, 16), "wide": (12, 6, 8, 12, 24)},
            strides=(1, 2),
            depths=(2, 2),
            expansions=(2, 3),
        )


class TestFbnetForImageNetOfDigits(SearchSpaceContract):
    """Layers that keep, change and halve the shape; two heads."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "fbnet-imagenet",
            resolution=9,
            in_channels=1,
            classes=5,
            stem=8,
            stem_stride=1,
            widths=(8, 16),
            strides=(1, 2),
            depths=(1, 3),
            heads=(16, 24),
        )


class TestMobileNetV2OfDigits(SearchSpaceContract):
    """Elastic width, resolution and depth."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv2",
            resolutions=(8, 9),
            in_channels=1,
            classes=5,
            width_multipliers=(0.5, 1.0),
            stem=16,
            stem_stride=1,
            first=8,
            widths=(16, 24),
            strides=(1, 2),
            depths=((1, 2), (1, 2)),
            kernels=(3, 5),
            expansions=((2, 3), (3, 4)),
            head=32,
        )


class TestMobileNetV3LargeOfDigits(SearchSpaceContract):
    """Fractional expansions, squeeze-excite in one stage, both activations."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv3-large",
            resolutions=(8,),
            in_channels=1,
            classes=5,
            width_multipliers=(1.0, 2.0),
            stem=8,
            stem_stride=1,
            first=8,
            widths=(16, 24),
            strides=(1, 2),
            activations=("relu", "hardswish"),
            squeeze_excite=(False, True),
            depths=((1, 2), (1, 2)),
            expansions=((2, 3), (1.5, 2.3, 3)),
            head=32,
            features=40,
        )


class TestMobileNetV3SmallOfDigits(SearchSpaceContract):
    """The first block halves the resolution and has squeeze-excite."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv3-small",
            resolutions=(8, 12),
            in_channels=1,
            classes=5,
            width_multipliers=(1.0,),
            stem=8,
            stem_stride=1,
            first=8,
            widths=(16, 24),
            strides=(1, 2),
            activations=("relu", "hardswish"),
            squeeze_excite=(False, True),
            depths=((1,), (1, 2)),
            expansions=((2, 3.67), (2, 4)),
            head=32,
            features=40,
        )
