"""Once-for-all's space against closed forms written from its paper, and MobileNet's rounding against its paper."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest

import search_spaces
from search_spaces import Architecture
from search_spaces.convnet.blocks import make_divisible
from search_spaces.convnet.mobilenetv3 import codes_of


@pytest.mark.parametrize(
    ("channels", "rounded"),
    # The widths of MobileNetV2 1.4 and 0.35 in its authors' release; 7 and 3 are raised to one divisor.
    [(32 * 1.4, 48), (16 * 1.4, 24), (24 * 1.4, 32), (64 * 1.4, 88), (96 * 1.4, 136), (160 * 1.4, 224),
     (320 * 1.4, 448), (24 * 0.35, 8), (32 * 0.35, 16), (96 * 0.35, 32), (7, 8), (3, 8)],
)  # fmt: skip
def test_make_divisible(channels: float, rounded: int) -> None:
    assert make_divisible(channels) == rounded


def macs_and_parameters(architecture: Architecture) -> tuple[int, int]:
    """By hand, from Cai et al. (ICLR 2020) and Howard et al. (ICCV 2019), width 1.0, 1000 classes."""
    values = {name: int(value) for name, value in architecture.items}
    size = ceil(values["resolution"] / 2)
    macs = 3 * 9 * 16 * size**2  # stem
    macs += (9 * 16 + 16 * 16) * size**2  # depthwise and projection of the fixed first block
    parameters = 3 * 9 * 16 + 32 + 9 * 16 + 32 + 16 * 16 + 32
    before = 16
    units = [(24, 2, False), (40, 2, True), (80, 2, False), (112, 1, True), (160, 2, True)]
    for unit, (channels, stride, squeeze_excite) in enumerate(units, start=1):
        for block in range(1, values[f"unit{unit}_depth"] + 1):
            kernel = values[f"unit{unit}_block{block}_kernel"]
            hidden = before * values[f"unit{unit}_block{block}_expansion"]
            macs += before * hidden * size**2
            size = ceil(size / stride) if block == 1 else size
            macs += (kernel**2 * hidden + hidden * channels) * size**2
            parameters += before * hidden + kernel**2 * hidden + hidden * channels + 4 * hidden + 2 * channels
            if squeeze_excite:
                squeeze = round(hidden / 32 + 1e-9) * 8  # the nearest multiple of 8, ...
                squeeze += 8 if squeeze < 0.9 * hidden / 4 else 0  # ... at most a tenth less
                macs += 2 * hidden * squeeze
                parameters += 2 * hidden * squeeze + hidden + squeeze
            before = channels
    macs += 160 * 960 * size**2 + 960 * 1280 + 1280 * 1000
    parameters += 160 * 960 + 2 * 960 + 960 * 1280 + 1280 * 1000 + 1000
    return macs, parameters


def test_costs_are_those_of_the_closed_form() -> None:
    space = search_spaces.get("mobilenetv3", resolutions=(160, 172, 224))
    architectures = [space.smallest(), space.largest(), *space.sample(20, seed=0)]
    expected = np.array([macs_and_parameters(architecture) for architecture in architectures])
    codes = space.codes(architectures)
    np.testing.assert_array_equal(space.macs(codes), expected[:, 0])
    np.testing.assert_array_equal(space.parameters(codes), expected[:, 1])


def test_width_multiplies_all_channels() -> None:
    space = search_spaces.get("mobilenetv3", resolutions=(64,), width=0.5)
    channels = [module.get_parameter("weight").shape[0] for name, module in space.build(space.largest()).named_modules()
                if name.endswith(("block1.project", "head.expand.conv", "head.mix", "stem.conv"))]  # fmt: skip
    assert channels == [8, 16, 24, 40, 56, 80, 480, 640]


OFA_ROW = {
    "kernels": "_".join("3577" * 5),
    "expansions": "_".join("3464" * 5),
    "depths": "2_3_4_2_4",
    "resolutions": 160,
}


def ofa_codes(**changes: object) -> np.ndarray:
    row = {**OFA_ROW, **changes}
    return codes_of(search_spaces.get("mobilenetv3"), **{name: [value] for name, value in row.items()})


def test_a_row_of_once_for_alls_table_is_the_network_that_it_says() -> None:
    space = search_spaces.get("mobilenetv3")
    values = {"resolution": 160}
    for unit, depth in enumerate((2, 3, 4, 2, 4), start=1):
        values[f"unit{unit}_depth"] = depth
        for block, (kernel, expansion) in enumerate(((3, 3), (5, 4), (7, 6), (7, 4)), start=1):
            inside = block <= depth  # the others have no effect: their first option stands for all
            values[f"unit{unit}_block{block}_kernel"] = kernel if inside else 3
            values[f"unit{unit}_block{block}_expansion"] = expansion if inside else 3
    (found,) = space.architectures(ofa_codes())
    assert found.values == values
    assert space.macs(ofa_codes())[0] == macs_and_parameters(found)[0]


def test_what_is_written_beyond_the_depth_is_ignored() -> None:
    kernels, expansions = OFA_ROW["kernels"].split("_"), OFA_ROW["expansions"].split("_")
    for place in (2, 3, 7, 14, 15):
        kernels[place], expansions[place] = "0", "99"
    changed = ofa_codes(kernels="_".join(kernels), expansions="_".join(expansions))
    np.testing.assert_array_equal(changed, ofa_codes())
    kernels[0] = "0"
    with pytest.raises(ValueError, match="'unit1_block1_kernel' has no option 0; it takes 3, 5, 7"):
        ofa_codes(kernels="_".join(kernels))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("depths", "2_3_4_2", "'2_3_4_2' is no architecture of once-for-all: expected 5 numbers joined by '_'"),
        ("depths", "2_3_4_2_5", "'unit5_depth' has no option 5"),
        ("kernels", "3_5", "expected 20 numbers"),
        ("expansions", "_".join("346x" * 5), "expected 20 numbers"),
        ("resolutions", 127, "'resolution' has no option 127"),
    ],
)
def test_a_row_that_is_none_raises(column: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ofa_codes(**{column: value})
