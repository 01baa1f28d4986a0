"""The contract of a search space, for the spaces of this package at several small configurations."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace


class TestMobileNetV3OfDigits(SearchSpaceContract):
    """8 px, squeeze-excite in one unit, no layer after the average."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv3",
            resolutions=(8,),
            in_channels=1,
            classes=10,
            stem=8,
            stem_stride=1,
            widths=(8, 16),
            strides=(1, 2),
            activations=("relu", "hardswish"),
            squeeze_excite=(False, True),
            depths=(1, 2),
            kernels=(3, 5),
            expansions=(2, 3),
            head=32,
            features=0,
        )


class TestMobileNetV3OfImages(SearchSpaceContract):
    """Elastic resolution (one of them odd), three kernels, width multiplier."""

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "mobilenetv3",
            resolutions=(32, 25),
            classes=7,
            width=0.5,
            widths=(24, 32, 48),
            strides=(2, 1, 2),
            activations=("relu", "relu", "hardswish"),
            squeeze_excite=(True, False, True),
            depths=(1, 2, 3),
            head=64,
            features=96,
        )


class TestConvnetOfDigits(SearchSpaceContract):
    """All kinds of block, elastic width and depth."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "convnet",
            resolutions=(8,),
            in_channels=1,
            stem=16,
            widths=((16, 24), (32, 48)),
            strides=(1, 2),
            depths=((1, 2), (1, 2)),
            head=48,
        )


class TestConvnetOfGroups(SearchSpaceContract):
    """Grouped blocks only: elastic width changes the number of groups; elastic kernels and resolution."""

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "convnet",
            resolutions=(16, 32),
            stem=16,
            stem_stride=2,
            widths=((16, 24, 32), (24, 48)),
            strides=(1, 2),
            depths=((1, 3), (2,)),
            blocks=("grouped",),
            elastic_kernel_blocks=("grouped",),
            kernels=(3, 5, 7),
            expansions=(1, 2, 4),
            head=40,
        )


class TestEfficientNetLite(SearchSpaceContract):
    """Padding of TensorFlow at even and odd sizes; stages with one kernel and with two."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "efficientnet-lite",
            resolutions=(32, 25),
            classes=7,
            width=0.5,
            stem=8,
            widths=(16, 32, 48),
            strides=(2, 1, 2),
            depths=((1, 2), (2, 3), (1,)),
            kernels=((3, 5), (3, 5), (3,)),
            expansions=(2, 3),
            head=64,
        )
