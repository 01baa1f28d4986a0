"""Mixed batches: pixels against plain loops, shares against the beta distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from nas.tasks import DataError, Mixing
from nas.tasks.mixing import blend, paste


def random_batch(n: int = 9, classes: int = 9, height: int = 10, width: int = 7) -> tuple[Tensor, Tensor]:
    """Images and one-hot shares; with as many classes as images, each image has its own."""
    images = torch.randn((n, 3, height, width), generator=torch.Generator().manual_seed(0))
    return images, torch.eye(classes)[torch.arange(n) % classes]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_share(mixing: Mixing, seed: int, side: int = 1) -> float:
    """The share that the first image of two keeps."""
    images, shares = torch.zeros(2, 1, side, side), torch.eye(2)
    return float(mixing(images, shares, generator(seed))[1][0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_the_weighted_mean_of_neighbours(seed: int) -> None:
    images, shares = random_batch()
    mixed, targets = Mixing(mixup=1.0)(images, shares, generator(seed))
    kept = float(targets[0, 0])
    assert 0 < kept < 1
    for i in range(9):
        expected = kept * images[i].numpy() + (1 - kept) * images[i - 1].numpy()
        np.testing.assert_allclose(mixed[i].numpy(), expected, atol=1e-6)
        assert float(targets[i, i]) == pytest.approx(kept, abs=1e-6)
        assert float(targets[i, i - 1]) == pytest.approx(1 - kept, abs=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert (mixed.dtype, targets.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_takes_one_rectangle_and_counts_its_pixels(seed: int) -> None:
    images, shares = random_batch()
    mixed, targets = Mixing(cutmix=1.0)(images, shares, generator(seed))
    pasted = (mixed != images).all(1)
    assert torch.equal(mixed, torch.where(pasted[:, None], images.roll(1, 0), images))
    assert (pasted == pasted[0]).all()
    rows, columns = pasted[0].any(1).nonzero().flatten(), pasted[0].any(0).nonzero().flatten()
    assert int(pasted[0].sum()) == len(rows) * len(columns)  # a rectangle: all rows and columns that it touches
    assert rows.tolist() == list(range(*((int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0))))
    kept = 1 - float(pasted[0].float().mean())
    np.testing.assert_allclose(targets, kept * shares + (1 - kept) * shares.roll(1, 0), atol=1e-6)


def test_rectangle_has_the_area_asked_for_and_the_proportions_of_the_image() -> None:
    images = torch.stack([torch.zeros(1, 40, 80), torch.ones(1, 40, 80)])
    whole = [paste(images, 0.75, generator(seed)) for seed in range(60)]
    # A quarter of the area is 20 x 40 pixels, less where it reaches over the edge.
    assert min(kept for _, kept in whole) == 0.75
    assert max(kept for _, kept in whole) <= 1 - 0.25 / 4
    largest = next(mixed for mixed, kept in whole if kept == 0.75)[0, 0]
    assert (int(largest.any(1).sum()), int(largest.any(0).sum())) == (20, 40)
    everything, kept = paste(images, 1.0, generator(0))
    assert kept == 1.0
    assert torch.equal(everything, images)


def test_rectangles_are_everywhere() -> None:
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    hits = sum(paste(images, 0.75, generator(seed))[0][0, 0] for seed in range(2000)) / 2000
    # The centre c is uniform on 0..7 and covers c-2 to c+1, so that a pixel is covered by the centres y-1 to y+2.
    covering = np.array([sum(y - 1 <= c <= y + 2 for c in range(8)) for y in range(8)]) / 8
    np.testing.assert_allclose(hits, np.outer(covering, covering), atol=0.05)


@pytest.mark.parametrize("number", [0.2, 1.0, 5.0])
def test_shares_follow_the_beta_distribution(number: float) -> None:
    mixing = Mixing(mixup=number)
    kept = [drawn_share(mixing, seed) for seed in range(500)]
    assert stats.kstest(kept, stats.beta(number, number).cdf).pvalue > 0.01


def test_either_method_is_drawn_as_often() -> None:
    images, shares = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 9, 9), torch.eye(2)
    mixing = Mixing(mixup=5.0, cutmix=5.0)
    batches = [mixing(images, shares, generator(seed))[0] for seed in range(400)]
    blended = [bool(((batch > 0) & (batch < 1)).all()) for batch in batches]
    assert 160 < sum(blended) < 240
    assert all(
        bool(((batch == 0) | (batch == 1)).all()) for batch, one in zip(batches, blended, strict=True) if not one
    )


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0)])
def test_the_generator_alone_decides(mixing: Mixing) -> None:
    images, shares = random_batch()
    before = images.clone()
    (first, targets), (again, same), (other, _) = (mixing(images, shares, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(targets, same)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_nothing_to_mix() -> None:
    images, shares = random_batch()
    state = (untouched := generator(0)).get_state()
    mixed, targets = Mixing()(images, shares, untouched)
    assert not Mixing()
    assert Mixing(cutmix=0.1)
    assert torch.equal(mixed, images)
    assert torch.equal(targets, shares)
    assert torch.equal(untouched.get_state(), state)
    assert torch.equal(blend(images, 1.0, untouched)[0], images)
    alone, share = Mixing(1.0, 1.0)(images[:1], shares[:1], generator(0))
    np.testing.assert_allclose(alone, images[:1], atol=1e-6)
    assert torch.equal(share, shares[:1])


@pytest.mark.parametrize("number", [1e-320, 1e300])
def test_extreme_numbers_give_finite_shares(number: float) -> None:
    assert all(0 <= drawn_share(Mixing(number, number), seed, side=8) <= 1 for seed in range(10))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_numbers_out_of_range(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name} is {value}, give 0 or more"):
        Mixing(**{name: value})
