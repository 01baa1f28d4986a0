"""The space of vision transformers: its contract and published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import search_spaces
from nas.testing.spaces import SearchSpaceContract
from search_spaces import SearchSpace
from search_spaces.layers import Layers
from search_spaces.vit.blocks import FeedForward, SelfAttention


class TestVitWithClassToken(SearchSpaceContract):
    """Two sizes of patches and two resolutions, so that positions are interpolated."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "vit",
            resolutions=(16, 24),
            classes=10,
            patches=(4, 8),
            widths=(16, 24, 32),
            depths=(1, 3),
            heads=(1, 2, 3),
            head_width=8,
            ratios=(1, 1.5, 2),
        )


class TestVitWithStem(SearchSpaceContract):
    """Convolutions first, the mean of all tokens last."""

    random_architectures = 20

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls) -> SearchSpace:
        return search_spaces.get(
            "vit",
            resolutions=(16,),
            classes=10,
            patches=(4,),
            stem=(8, 16),
            widths=(16, 32),
            depths=(2, 3),
            heads=(2, 4),
            head_width=8,
            ratios=(2, 3),
            class_token=False,
        )


# Parameters of the released models; billions of operations of table 5 of DeiT's paper and of timm's tables.
PUBLISHED = {
    "DeiT-Ti": (5_717_416, 1.26e9),
    "DeiT-S": (22_050_664, 4.61e9),
    "DeiT-B": (86_567_656, 17.58e9),
}


def test_deit_has_its_published_size() -> None:
    space = search_spaces.get("vit", widths=(192, 384, 768), heads=(3, 6, 12), depths=(12,), ratios=(4,))
    assert set(space.named) == set(PUBLISHED)
    for name, (parameters, macs) in PUBLISHED.items():
        codes = space.codes([space.architecture(name)])
        assert space.parameters(codes)[0] == parameters
        assert space.macs(codes)[0] == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize("options", [{"class_token": False}, {"stem": (32,)}, {"head_width": 32}, {"depths": (11,)}])
def test_other_networks_have_no_such_name(options: dict[str, object]) -> None:
    assert set(search_spaces.get("vit").named) == {"DeiT-Ti"}
    assert not search_spaces.get("vit", **options).named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": (224, 230)}, "230 is not one of 16"),
        ({"patches": (6,), "resolutions": (48,), "stem": (8, 16)}, "multiples of 4, by which the stem divides, not 6"),
        ({"stem": (0,)}, "stem must be positive"),
        ({"widths": ()}, "widths must be positive"),
        ({"heads": (0, 3)}, "heads must be positive"),
        ({"ratios": (-1.0,)}, "ratios must be positive"),
        ({"head_width": 0}, "head_width must be positive"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.get("vit", **options)


def test_sorting_puts_the_most_important_units_first() -> None:
    """With one head or hidden unit left, it is the one that is read with the largest weights."""
    torch.manual_seed(0)
    for block, width in ((SelfAttention(Layers(), 8, 3, 4, 1e-6), 4), (FeedForward(Layers(), 8, 6, 1e-6), 1)):
        reader = block.out if isinstance(block, SelfAttention) else block.project
        assert isinstance(reader, nn.Linear)
        before = reader.weight.detach().abs().sum(0).view(-1, width).sum(1)
        x = torch.randn(2, 5, 8)
        with torch.no_grad():
            expected = block(x)
            block.sort_channels()
            torch.testing.assert_close(block(x), expected)
        after = reader.weight.detach().abs().sum(0).view(-1, width).sum(1)
        torch.testing.assert_close(after, before.sort(descending=True).values)
        assert not torch.equal(after, before)
