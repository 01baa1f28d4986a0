"""Short names of the networks of the experiment on language models."""

from __future__ import annotations

import pytest

import search_spaces
from experiments.hybrid_slm.networks import pattern
from search_spaces import SearchSpace


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_spaces.get(
        "hybrid-slm",
        vocabulary=64,
        widths=[32],
        depths=[3, 5],
        mixers=["short_convolution", "attention"],
        heads=2,
        kv_heads=[1, 2],
        ratios=[1, 2],
    )


def test_a_pattern_is_repeated_to_the_depth(space: SearchSpace) -> None:
    values = pattern(space, "short_convolution+short_convolution+attention@5").values
    kinds = [values[f"layer{layer}_mixer"] for layer in range(1, 6)]
    assert kinds == ["short_convolution", "short_convolution", "attention", "short_convolution", "short_convolution"]
    assert [values[f"layer{layer}_ratio"] for layer in range(1, 6)] == [2] * 5
    assert values["layer3_kv_heads"] == 2


def test_a_pattern_names_the_architecture_of_the_space(space: SearchSpace) -> None:
    uniform = pattern(space, "attention@3")
    assert uniform.values.items() >= {"depth": 3, "layer1_mixer": "attention", "layer3_mixer": "attention"}.items()
    assert space.architectures(space.codes([uniform])) == [uniform]


@pytest.mark.parametrize(
    ("name", "message"),
    [("attention", "a pattern reads"), ("mamba3@3", "no option 'mamba3'"), ("attention@4", "no option 4")],
)
def test_wrong_names(space: SearchSpace, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pattern(space, name)
