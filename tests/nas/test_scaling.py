"""Scaled networks against the closed forms of Dollar, Singh and Girshick (CVPR 2021)."""

from __future__ import annotations

from math import isclose, log
from pathlib import Path
from typing import Any

import pytest

import search_spaces
from nas.errors import CheckFailed, UsageError
from nas.scaling import Scaled, compare, costed, factors, load_architecture, scale_network
from search_spaces import Architecture, SearchSpace
from search_spaces.scaling import Scale


@pytest.mark.parametrize(
    ("alpha", "width", "depth", "resolution"),
    # The exponents that the authors' release derives from shares such as "one part depth, eight width, one resolution":
    # each share over the sum of all, halved for width and resolution.
    [(0.8, 8 / 10 / 2, 1 / 10, 1 / 10 / 2), (1 / 3, 1 / 3 / 2, 1 / 3, 1 / 3 / 2), (1.0, 1 / 2, 0.0, 0.0),
     (0.0, 0.0, 1 / 2, 1 / 2 / 2)],
)  # fmt: skip
@pytest.mark.parametrize("macs", [0.25, 1.0, 4.0])
def test_factors(alpha: float, width: float, depth: float, resolution: float, macs: float) -> None:
    scale = factors(macs, alpha)
    assert (scale.width, scale.depth, scale.resolution) == pytest.approx((macs**width, macs**depth, macs**resolution))
    assert isclose(scale.depth * scale.width**2 * scale.resolution**2, macs)
    assert isclose(scale.depth * scale.width * scale.resolution**2, macs ** (1 - alpha / 2))  # activations


def dense_space(**options: Any) -> SearchSpace:
    """Dense convolutions of many channels, whose costs follow the closed forms closely."""
    defaults: dict[str, Any] = {
        "resolutions": [64],
        "stem": 64,
        "widths": [[64], [128]],
        "strides": [1, 1],
        "depths": [[4], [4]],
        "blocks": ["fused"],
        "kernels": [3],
        "expansions": [2],
        "head": 256,
    }
    return search_spaces.get("convnet", **defaults | options)


def scaled_costs(space: SearchSpace, scale: Scale) -> Scaled:
    assert space.scaled is not None
    return costed(*space.scaled(space.largest(), scale), scale)


@pytest.mark.parametrize(
    ("scale", "macs", "parameters", "activations"),
    [(Scale(2, 1, 1), 4, 4, 2), (Scale(1, 2, 1), 2, 2, 2), (Scale(1, 1, 2), 4, 1, 4), (Scale(2, 4, 2), 64, 16, 32)],
)
def test_costs_of_dense_networks_grow_as_the_closed_forms_say(
    scale: Scale, macs: float, parameters: float, activations: float
) -> None:
    space = dense_space()
    before, after = costed(space, space.largest()), scaled_costs(space, scale)
    # Beside the blocks there are stem, head and classifier, and the first block of a stage differs from the others.
    found = (after.macs / before.macs, after.parameters / before.parameters, after.activations / before.activations)
    assert found == pytest.approx((macs, parameters, activations), rel=0.12)


def test_activations_are_counted_by_hand() -> None:
    space = dense_space(depths=[[1], [1]], resolutions=[8])
    # Stem; two blocks of a wide and a narrow convolution; head, and the ten logits after the average.
    by_hand = 64 * (64 + (128 + 64) + (128 + 128) + 256) + 10
    assert costed(space, space.largest()).activations == by_hand


@pytest.fixture(scope="module")
def lite() -> SearchSpace:
    return search_spaces.get("efficientnet-lite", resolutions=[224])


@pytest.fixture(scope="module")
def compared(lite: SearchSpace) -> dict[str, Scaled]:
    return compare(lite, lite.architecture("EfficientNet-Lite0"), 4.0)


@pytest.mark.parametrize(("name", "exponent"), [("alpha 0.8", 0.6), ("uniform", 5 / 6), ("width only", 0.5)])
def test_a_published_network_scaled_by_four(compared: dict[str, Scaled], name: str, exponent: float) -> None:
    before, after = compared["before"], compared[name]
    assert after.macs / before.macs == pytest.approx(4, rel=0.03)
    # Numbers of blocks and pixels are rounded, and depthwise convolutions grow by less than the square of the width.
    assert log(after.activations / before.activations) / log(4) == pytest.approx(exponent, abs=0.1)


def test_fast_scaling_has_fewer_activations_than_uniform_scaling(compared: dict[str, Scaled]) -> None:
    activations = [compared[name].activations for name in ("width only", "alpha 0.8", "uniform")]
    assert activations == sorted(activations)
    assert activations[1] < 0.8 * activations[2]


def test_depth_and_resolution_of_the_result(compared: dict[str, Scaled], lite: SearchSpace) -> None:
    fast, uniform = compared["alpha 0.8"].architecture.values, compared["uniform"].architecture.values
    # 4^(1/10) = 1.149 and 4^(1/20) = 1.072; 4^(1/3) = 1.587 and 4^(1/6) = 1.260
    names = [f"stage{stage}_depth" for stage in range(1, 7)]
    assert [fast[name] for name in names] == [2, 2, 3, 3, 5, 1]
    assert [uniform[name] for name in names] == [3, 3, 5, 5, 6, 2]
    assert (fast["resolution"], uniform["resolution"]) == (240, 284)


def test_new_blocks_repeat_those_where_they_stand(lite: SearchSpace) -> None:
    values = {**lite.largest().values}
    for block, (kernel, expansion) in enumerate([(3, 3), (5, 4), (3, 6), (5, 6)], start=1):
        values |= {f"stage5_block{block}_kernel": kernel, f"stage5_block{block}_expansion": expansion}
    assert lite.scaled is not None
    _, deeper = lite.scaled(Architecture(lite.name, tuple(values.items())), Scale(1, 1.5, 1))
    expansions = [deeper.values[f"stage5_block{block}_expansion"] for block in range(1, 7)]
    kernels = [deeper.values[f"stage5_block{block}_kernel"] for block in range(1, 7)]
    assert (deeper.values["stage5_depth"], expansions, kernels) == (6, [3, 3, 4, 6, 6, 6], [3, 3, 5, 3, 3, 5])
    _, shallower = lite.scaled(Architecture(lite.name, tuple(values.items())), Scale(1, 0.5, 1))
    assert shallower.values["stage5_depth"] == 2
    assert [shallower.values[f"stage5_block{block}_expansion"] for block in (1, 2)] == [3, 6]


@pytest.mark.parametrize(
    ("name", "macs"), [("mobilenetv3", 0.3), ("mobilenetv3", 3.0), ("convnet", 3.0), ("efficientnet-lite", 0.3)]
)
def test_any_network_of_a_space_meets_the_target(name: str, macs: float) -> None:
    space = search_spaces.get(name)
    (architecture,) = space.sample(1, seed=3)
    found = scale_network(space, architecture, macs)
    codes = found.space.codes([found.architecture])
    assert found.macs == found.space.macs(codes)[0]
    assert found.macs / costed(space, architecture).macs == pytest.approx(macs, rel=0.06)


def test_a_target_beyond_reach_raises() -> None:
    space = search_spaces.get("convnet", resolutions=[8], widths=[[16]], strides=[1], depths=[[1]], head=16)
    with pytest.raises(CheckFailed, match=r"no width gives .* M MACs .* try another alpha"):
        scale_network(space, space.smallest(), 0.01, alpha=1.0)


@pytest.mark.parametrize(
    ("macs", "alpha", "message"),
    [(0.0, 0.8, "above 0, not 0.0"), (float("inf"), 0.8, "above 0, not inf"), (float("nan"), 0.8, "above 0, not nan"),
     (2.0, 1.1, "from 0 to 1, not 1.1"), (2.0, -0.1, "from 0 to 1, not -0.1")],
)  # fmt: skip
def test_numbers_out_of_range_raise(macs: float, alpha: float, message: str) -> None:
    space = dense_space()
    with pytest.raises(UsageError, match=message):
        scale_network(space, space.largest(), macs, alpha)


def test_a_space_that_cannot_be_scaled_raises() -> None:
    space = search_spaces.get("nasbench201")
    with pytest.raises(UsageError, match="space 'nasbench201' does not say how its networks are scaled"):
        scale_network(space, space.largest(), 2.0)


def test_an_architecture_from_a_file_or_by_its_name(lite: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "architecture.json"
    file.write_text(lite.smallest().to_json())
    assert load_architecture(str(file), lite) == lite.smallest()
    assert load_architecture("EfficientNet-Lite0", lite) == lite.largest()
    with pytest.raises(UsageError, match="no published network of that name; there are: EfficientNet-Lite0"):
        load_architecture("EfficientNet-Lite9", lite)
    for content, message in (
        ("nothing", "not JSON"),
        (dense_space().largest().to_json(), "belongs to space 'convnet'"),
    ):
        file.write_text(content)
        with pytest.raises(UsageError, match=f"architecture.json: .*{message}"):
            load_architecture(str(file), lite)
