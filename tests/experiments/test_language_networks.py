"""Short names of the networks of the experiment on language models."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

import search_spaces
from experiments.hybrid_slm.networks import networks, pattern
from nas.stages import Stages
from search_spaces import SearchSpace
from search_spaces.space import Codes


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


def run_of(space: SearchSpace, bits: Mapping[str, float]) -> Stages:
    """A run that evaluated these patterns, whose time on its first device is their depth."""

    def depths(codes: Codes) -> NDArray[np.float64]:
        return np.array([float(one.values["depth"]) for one in space.architectures(codes)])

    evaluations = [
        SimpleNamespace(
            architecture=pattern(space, name),
            metrics={"bits_per_byte": value, "decode_8_ms.here": float(pattern(space, name).values["depth"])},
        )
        for name, value in bits.items()
    ]
    metrics = [SimpleNamespace(name=name, values=depths) for name in ("decode_8_ms.here", "decode_9_ms.here")]
    config = SimpleNamespace(devices=["here", "there"])
    return cast(Stages, SimpleNamespace(space=space, config=config, metrics=metrics, evaluations=lambda: evaluations))


def test_the_best_network_that_is_no_slower_than_a_pattern(space: SearchSpace) -> None:
    stages = run_of(space, {"attention@5": 1.0, "short_convolution@3": 2.0, "attention+short_convolution@3": 3.0})
    found = networks(stages, ["under:attention@3", "under:attention@5"])
    assert list(found.values()) == [pattern(space, "short_convolution@3"), pattern(space, "attention@5")]


def test_none_is_so_fast(space: SearchSpace) -> None:
    with pytest.raises(ValueError, match=r"no network that was evaluated is as fast as \{'decode_8_ms.here': 3"):
        networks(run_of(space, {"attention@5": 1.0}), ["under:attention@3"])
