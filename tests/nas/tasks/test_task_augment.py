"""Every vectorised change against a plain loop over images."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from nas.tasks import Augmentation, DataError
from nas.tasks.augment import affine, crop_and_flip, cut_out


def random_images(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("channels", "height", "width", "padding"), [(3, 12, 9, 4), (1, 8, 8, 7), (3, 5, 7, 0)])
def test_crop_and_flip_equals_pad_then_slice(channels: int, height: int, width: int, padding: int) -> None:
    images = random_images(40, channels, height, width)
    offsets = torch.randint(-padding, padding + 1, (2, 40), generator=torch.Generator().manual_seed(1))
    flipped = torch.arange(40) % 3 == 0

    changed = crop_and_flip(images, offsets, flipped)

    for i, image in enumerate(images.numpy()):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
        top, left = padding + int(offsets[0, i]), padding + int(offsets[1, i])
        expected = padded[:, top : top + height, left : left + width]
        if flipped[i]:
            expected = expected[:, :, ::-1]
        np.testing.assert_array_equal(changed[i].numpy(), expected)


def test_affine_equals_scipy_image_by_image() -> None:
    height, width = 11, 16
    images = random_images(12, 2, height, width)
    generator = torch.Generator().manual_seed(2)
    angles = torch.rand(12, generator=generator) * 2 - 1
    scales = torch.rand(12, generator=generator) + 0.5
    shifts = torch.rand((2, 12), generator=generator) * 6 - 3

    changed = affine(images, angles, scales, shifts)

    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    for i, image in enumerate(images.numpy().astype(np.float64)):
        cosine, sine = math.cos(float(angles[i])), math.sin(float(angles[i]))
        # Rows run downwards, so turning the picture counterclockwise takes (row, column) back by this matrix.
        back = np.array([[cosine, sine], [-sine, cosine]]) / float(scales[i])
        offset = centre - back @ (centre + shifts[:, i].numpy())
        for channel in range(2):
            expected = ndimage.affine_transform(image[channel], back, offset, order=1, mode="grid-constant")
            np.testing.assert_allclose(changed[i, channel].numpy(), expected, atol=0.51)


def test_affine_turns_counterclockwise_like_pillow() -> None:
    image = random_images(1, 1, 8, 8)
    turned = affine(image, torch.tensor([math.pi / 2]), torch.ones(1), torch.zeros(2, 1))
    expected = Image.fromarray(image[0, 0].numpy()).transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(turned[0, 0].numpy(), np.asarray(expected))


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_cut_out_equals_slices(side: int) -> None:
    images = random_images(30, 3, 7, 10)
    generator = torch.Generator().manual_seed(3)
    centres = torch.stack([torch.randint(0, s, (30,), generator=generator) for s in (7, 10)])

    changed = cut_out(images, centres, side)

    for i, image in enumerate(images.numpy()):
        expected = image.copy()
        top, left = int(centres[0, i]) - side // 2, int(centres[1, i]) - side // 2
        rows, columns = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
        expected[:, rows, columns] = np.rint(image.mean((1, 2), dtype=np.float32))[:, None, None]
        np.testing.assert_array_equal(changed[i].numpy(), expected)


def test_the_generator_alone_decides() -> None:
    images = random_images(16, 3, 16, 16)
    before = images.clone()
    augmentation = Augmentation(10.0, 0.1, 0.1, crop_padding=2, flip=True, cutout=4)
    first, again, other = (augmentation(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert first.dtype == torch.uint8
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_no_change_returns_the_images() -> None:
    images = random_images(4, 1, 8, 8)
    assert torch.equal(Augmentation()(images, torch.Generator()), images)


def test_half_of_the_images_are_flipped() -> None:
    images = random_images(2000, 1, 2, 3)
    changed = Augmentation(flip=True)(images, torch.Generator().manual_seed(0))
    mirrored = (changed == images.flip(3)).flatten(1).all(1)
    same = (changed == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 900 < int(mirrored.sum()) < 1100


def test_crops_reach_every_place_equally() -> None:
    # One bright pixel in the middle: where it lands tells the window's place.
    images = torch.zeros((9000, 1, 11, 11), dtype=torch.uint8)
    images[:, :, 5, 5] = 255
    changed = Augmentation(crop_padding=1)(images, torch.Generator().manual_seed(0))
    landed = (changed[:, 0] > 0).sum(0)
    assert (landed[4:7, 4:7] > 850).all()
    assert landed[4:7, 4:7].sum() == landed.sum() == 9000


def test_affine_stays_within_its_limits() -> None:
    images = torch.zeros((3000, 1, 21, 21), dtype=torch.uint8)
    images[:, :, 10, 10] = 255
    changed = Augmentation(translation=0.2)(images, torch.Generator().manual_seed(0)).float().squeeze(1)
    places = torch.arange(21.0)
    weight = changed.sum((1, 2))
    rows = (changed.sum(2) * places).sum(1) / weight - 10
    columns = (changed.sum(1) * places).sum(1) / weight - 10
    for shifts in (rows, columns):
        assert 4.0 < float(shifts.abs().max()) <= 4.25  # a fifth of 21 pixels, and the rounding to grey levels
        assert abs(float(shifts.mean())) < 0.2


def test_default_depends_on_the_channels() -> None:
    assert Augmentation.default(3, (32, 40)) == Augmentation(crop_padding=4, flip=True)
    grey = Augmentation.default(1, (8, 8))
    assert not grey.flip
    assert grey.rotation_degrees > 0


def test_pillow_agrees_on_what_a_flip_is() -> None:
    image = random_images(1, 1, 4, 6)
    flipped = crop_and_flip(image, torch.zeros((2, 1), dtype=torch.int64), torch.tensor([True]))
    np.testing.assert_array_equal(flipped[0, 0], np.asarray(ImageOps.mirror(Image.fromarray(image[0, 0].numpy()))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation_degrees": -1.0}, "rotation_degrees is -1"),
        ({"rotation_degrees": 181.0}, "give 0 to 180"),
        ({"scale": 1.0}, "scale is 1"),
        ({"translation": float("nan")}, "translation is nan"),
        ({"crop_padding": -1}, "crop_padding is -1, give 0 or more"),
        ({"cutout": -2}, "cutout is -2"),
    ],
)
def test_numbers_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Augmentation(**options)  # type: ignore[arg-type]


def test_padding_must_be_less_than_the_side() -> None:
    Augmentation(crop_padding=7).check((8, 9))
    with pytest.raises(DataError, match="images of 8x9 pixels need less than 8"):
        Augmentation(crop_padding=8).check((8, 9))
