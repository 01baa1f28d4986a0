from __future__ import annotations

import pytest

import search_spaces
from search_spaces import SearchSpace


@pytest.fixture(scope="session")
def small_mobilenetv3() -> SearchSpace:
    """Few enough architectures to go through all of them; squeeze-excite, kernel and expansion per layer."""
    return search_spaces.get(
        "mobilenetv3",
        resolutions=(8, 12),
        in_channels=1,
        classes=4,
        stem=8,
        stem_stride=1,
        widths=(8,),
        strides=(1,),
        activations=("hardswish",),
        squeeze_excite=(True,),
        depths=(1, 2),
        kernels=(3, 5),
        expansions=(2, 3),
        head=16,
        features=0,
    )


@pytest.fixture(scope="session")
def small_convnet() -> SearchSpace:
    """Few enough architectures to go through all of them; the kernel depends on the kind, which depends on the depth."""
    return search_spaces.get(
        "convnet",
        resolutions=(8,),
        in_channels=1,
        classes=4,
        stem=8,
        widths=((16, 24),),
        strides=(1,),
        depths=((1, 2),),
        blocks=("mbconv", "fused"),
        kernels=(3, 5),
        expansions=(2, 3),
        head=16,
    )
