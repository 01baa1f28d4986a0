"""The contract of a search space, for once-for-all's published spaces at small sizes."""

from __future__ import annotations

import pytest

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace


class TestOfaMobileNetV3(SearchSpaceContract):
    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get("ofa-mobilenetv3", resolutions=(32, 40), width=0.25, classes=10, depths=(1, 2))


class TestOfaProxyless(SearchSpaceContract):
    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get("ofa-proxyless", resolutions=(32, 40), width=0.25, classes=10, depths=(1, 2))


class TestOfaResNet50(SearchSpaceContract):
    """Images of an odd size after some strides, where the shortcut averages over fewer pixels."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "ofa-resnet50", resolutions=(32, 40), classes=10, depths=(0, 1), widths=(0.05, 0.1), expansions=(0.3, 0.6)
        )
