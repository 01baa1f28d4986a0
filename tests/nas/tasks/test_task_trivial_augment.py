"""Every change against Pillow, image by image."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from nas.tasks import Augmentation
from nas.tasks.trivial_augment import OPERATIONS, trivial_augment

Reference = Callable[[Image.Image, float], Image.Image]


def warp(coefficients: Callable[[float], tuple[float, ...]]) -> Reference:
    return lambda image, s: image.transform(image.size, Image.Transform.AFFINE, coefficients(s))


# What Pillow calls each change, and how its argument follows from the strength (-1 to 1).
PILLOW: dict[str, Reference] = {
    "identity": lambda image, s: image,
    "shear_x": warp(lambda s: (1, 0.99 * s, 0, 0, 1, 0)),
    "shear_y": warp(lambda s: (1, 0, 0, 0.99 * s, 1, 0)),
    "translate_x": lambda image, s: warp(lambda s: (1, 0, min(32, image.width) * s, 0, 1, 0))(image, s),
    "translate_y": lambda image, s: warp(lambda s: (1, 0, 0, 0, 1, min(32, image.height) * s))(image, s),
    "rotate": lambda image, s: image.rotate(135 * s),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.99 * s),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.99 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.99 * s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * s),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(6 * abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, 255 * (1 - abs(s))),  # type: ignore[arg-type]
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
}
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
ENHANCING = ("brightness", "color", "contrast", "sharpness")
STRENGTHS = (torch.arange(-30, 31) / 30).tolist()


def some_images(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Some with all grey levels, some with few, some of one colour."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.rand((2, n, channels, 1, 1), generator=generator).sort(0).values * 255
    noise = torch.rand((n, channels, height, width), generator=generator)
    images = low + (high - low) * noise ** torch.tensor([1.0, 4.0]).repeat(n)[:n].view(-1, 1, 1, 1)
    images[::7] = low[::7]
    return images.to(torch.uint8)


def to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())


def from_pillow(image: Image.Image) -> np.ndarray:
    array = np.asarray(image).astype(int)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (3, 17, 40), (1, 8, 8), (3, 2, 5), (3, 48, 33)]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_change_equals_pillow_image_by_image(name: str, channels: int, height: int, width: int) -> None:
    images = some_images(len(STRENGTHS), channels, height, width)
    before = images.clone()

    changed = OPERATIONS[name](images, torch.tensor(STRENGTHS))

    assert changed.dtype == torch.uint8
    assert torch.equal(images, before)
    expected = np.stack(
        [
            from_pillow(PILLOW[name](to_pillow(image), strength))
            for image, strength in zip(images, STRENGTHS, strict=True)
        ]
    )
    difference = np.abs(changed.numpy().astype(int) - expected)
    if name in GEOMETRIC:
        # A place exactly between two pixels belongs to either, as rounding has it.
        assert (difference > 0).mean() < 0.03
    elif name in ENHANCING:
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    else:
        assert difference.max() == 0


def test_shears_and_turns_reach_as_far_as_the_paper_says() -> None:
    images = torch.zeros((1, 1, 33, 65), dtype=torch.uint8)
    images[0, 0, 16, 32] = 255  # the centre, 16.5 below the upper edge
    for name, strength, place in (
        ("shear_x", 1.0, (16, 16)),  # 0.99 * 16.5 = 16.3 to the left
        ("shear_x", -1.0, (16, 48)),
        ("shear_y", 0.5, (0, 32)),  # 0.495 * 32.5 = 16.1 upwards
        ("translate_x", 1.0, (16, 0)),
        ("translate_y", -0.5, (32, 32)),
        ("rotate", 0.7, (16, 32)),
    ):
        changed = OPERATIONS[name](images, torch.tensor([strength]))
        assert np.argwhere(changed[0, 0].numpy() == 255).tolist() == [list(place)], name


def test_one_channel_has_no_color() -> None:
    images = some_images(20, 1, 9, 9)
    assert torch.equal(OPERATIONS["color"](images, torch.linspace(-1, 1, 20)), images)


def test_grey_of_other_channel_numbers_is_their_mean() -> None:
    images = some_images(10, 4, 6, 6)
    almost_grey = OPERATIONS["color"](images, -torch.ones(10)).float()
    assert float((almost_grey - images.float().mean(1, keepdim=True)).abs().max()) < 255 * 0.01 + 1.5


# ---- the draw


def test_each_image_gets_one_change_of_one_strength() -> None:
    images = some_images(2000, 3, 12, 12, seed=1)
    changed = trivial_augment(images, torch.Generator().manual_seed(0))
    # The three draws, read off the results: all changes at all strengths, made to the image at the same place.
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(14, (2000,), generator=generator)
    strengths = torch.randint(31, (2000,), generator=generator) / 30
    strengths *= 1 - 2 * torch.randint(2, (2000,), generator=generator)
    operations = list(OPERATIONS.values())
    for i in range(0, 2000, 5):
        alone = operations[int(drawn[i])](images[i : i + 1], strengths[i : i + 1])
        assert torch.equal(changed[i], alone[0]), (i, int(drawn[i]))


def test_changes_and_strengths_are_drawn_equally() -> None:
    # An image of one grey level is made brighter by brightness alone.
    images = torch.full((14000, 1, 4, 4), 128, dtype=torch.uint8)
    changed = trivial_augment(images, torch.Generator().manual_seed(0)).flatten(1)
    bright = changed.amax(1)[changed.amax(1) > 128]
    # A 14th draws brightness, half of it with a positive sign, 30 of 31 with a strength that is not 0.
    assert abs(len(bright) - 14000 / 14 / 2 * 30 / 31) < 90
    assert set(bright.tolist()) == {int(np.float32(128) * np.float32(1 + 0.033 * k)) for k in range(1, 31)}


def test_the_generator_alone_decides() -> None:
    images = some_images(64, 3, 16, 16)
    before = images.clone()
    augmentation = Augmentation(trivial_augment=True)
    first, again, other = (augmentation(images, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.shape == images.shape


def test_one_image_and_an_epoch_of_images_work() -> None:
    for n in (1, 2, 300):
        for channels in (1, 3):
            images = some_images(n, channels, 8, 8)
            for seed in range(20):
                assert trivial_augment(images, torch.Generator().manual_seed(seed)).shape == images.shape


def test_it_comes_after_the_crop_and_before_cutout() -> None:
    images = some_images(40, 3, 16, 16, seed=2)
    everything = Augmentation(crop_padding=3, flip=True, trivial_augment=True, cutout=4)
    generator = torch.Generator().manual_seed(1)
    step_by_step = images
    for part in (Augmentation(crop_padding=3, flip=True), Augmentation(trivial_augment=True), Augmentation(cutout=4)):
        step_by_step = part(step_by_step, generator)
    assert torch.equal(everything(images, torch.Generator().manual_seed(1)), step_by_step)


def test_rotation_is_counterclockwise_by_135_degrees_at_most() -> None:
    image = torch.zeros((1, 1, 33, 33), dtype=torch.uint8)
    image[0, 0, 16, 30] = 255
    image[0, 0, 15:18, 29:32] = 255  # 14 pixels to the right of the centre
    turned = OPERATIONS["rotate"](image, torch.ones(1))[0, 0].numpy()
    row, column = np.argwhere(turned == 255).mean(0)
    assert row == pytest.approx(16 - 14 * math.sin(math.radians(135)), abs=0.5)
    assert column == pytest.approx(16 + 14 * math.cos(math.radians(135)), abs=0.5)
