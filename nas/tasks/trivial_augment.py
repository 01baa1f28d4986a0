"""TrivialAugment (Müller and Hutter, ICCV 2021): each image gets one random change of random strength.

The changes and their ranges are those of the paper's wide space ("TA (Wide)"), and each gives the pixels that Pillow
gives, but for a whole batch at a time. Every change takes uint8 images (n, channels, height, width) and strengths
(n,) from -1 to 1; a change without a direction, such as fewer grey levels, uses their size alone.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

LEVELS = 30
"""Strengths are multiples of a 30th, as in the paper."""


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Changed copies of uint8 images (n, channels, height, width); the generator draws changes and strengths."""
    n = len(images)
    drawn = torch.randint(len(OPERATIONS), (n,), generator=generator)
    strengths = torch.randint(LEVELS + 1, (n,), generator=generator) / LEVELS
    strengths *= 1 - 2 * torch.randint(2, (n,), generator=generator)
    # Sorted by what they drew, images of one change lie together, so that each change is made once a batch.
    order = drawn.argsort()
    counts = torch.bincount(drawn, minlength=len(OPERATIONS)).tolist()
    parts = zip(OPERATIONS.values(), images[order].split(counts), strengths[order].split(counts), strict=True)
    changed = torch.empty_like(images)
    changed[order] = torch.cat([operation(some, strength) for operation, some, strength in parts if len(some)])
    return changed


def identity(images: Tensor, strengths: Tensor) -> Tensor:
    """No change."""
    return images


def shear_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Shift each row to the left by up to 0.99 of its height below the upper edge."""
    return _warped(images, {(0, 1): 0.99 * strengths})


def shear_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Shift each column upwards by up to 0.99 of its distance from the left edge."""
    return _warped(images, {(1, 0): 0.99 * strengths})


def translate_x(images: Tensor, strengths: Tensor) -> Tensor:
    """Shift to the left by up to 32 pixels, at most the width."""
    return _warped(images, {(0, 2): min(32, images.shape[3]) * strengths})


def translate_y(images: Tensor, strengths: Tensor) -> Tensor:
    """Shift upwards by up to 32 pixels, at most the height."""
    return _warped(images, {(1, 2): min(32, images.shape[2]) * strengths})


def rotate(images: Tensor, strengths: Tensor) -> Tensor:
    """Turn counterclockwise about the centre by up to 135 degrees."""
    height, width = images.shape[2:]
    angles = math.radians(135) * strengths
    cosine, sine = angles.cos(), angles.sin()
    shift_x = (width - cosine * width + sine * height) / 2
    shift_y = (height - sine * width - cosine * height) / 2
    return _warped(
        images,
        {(0, 0): cosine, (0, 1): -sine, (0, 2): shift_x, (1, 0): sine, (1, 1): cosine, (1, 2): shift_y},
    )


def brightness(images: Tensor, strengths: Tensor) -> Tensor:
    """Move towards black, or as far away from it."""
    return _blended(torch.zeros(()), images, strengths)


def color(images: Tensor, strengths: Tensor) -> Tensor:
    """Move towards grey, or as far away from it; images of one channel stay as they are."""
    return _blended(_grey(images), images, strengths)


def contrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Move towards the mean grey level of the image, or as far away from it."""
    return _blended(_grey(images).mean((2, 3), keepdim=True).add_(0.5).floor_(), images, strengths)


def sharpness(images: Tensor, strengths: Tensor) -> Tensor:
    """Move towards a smoothed image (Pillow's 3x3 filter ``SMOOTH``, edge pixels kept), or as far away from it."""
    smooth = images.float()
    if min(images.shape[2:]) > 2:
        centre = smooth[:, :, 1:-1, 1:-1]
        in_row = smooth[..., :-2] + smooth[..., 1:-1] + smooth[..., 2:]
        around = in_row[:, :, :-2] + in_row[:, :, 1:-1] + in_row[:, :, 2:]
        centre.copy_(around.add_(centre, alpha=4).div_(13).add_(0.5).floor_())
    return _blended(smooth, images, strengths)


def posterize(images: Tensor, strengths: Tensor) -> Tensor:
    """Keep the highest 8 to 2 bits of each value."""
    dropped = (6 * strengths.abs()).round_().to(torch.uint8)
    return images & _per_image(torch.full_like(dropped, 255) << dropped)


def solarize(images: Tensor, strengths: Tensor) -> Tensor:
    """Invert the values from a threshold upwards, which falls from 255 to 0 as strength grows."""
    thresholds = (255 * (1 - strengths.abs())).ceil_().to(torch.uint8)
    inverted = (images >= _per_image(thresholds)).to(torch.uint8).neg_()  # 255 where it is true
    return images ^ inverted  # 255 - x is x with all bits turned; torch.where is far slower on uint8


def autocontrast(images: Tensor, strengths: Tensor) -> Tensor:
    """Stretch each channel to the full range 0 to 255; the strength has no effect."""
    low, high = (edge((2, 3), keepdim=True).double() for edge in (images.amin, images.amax))
    flat = low == high
    # Pillow's formula in Pillow's precision, as the truncation shows any other rounding (255 / x in torch is 255 * 1/x).
    scale = (torch.full_like(low, 255) / (high - low)).masked_fill_(flat, 1)
    offset = (-low * scale).masked_fill_(flat, 0)
    return (images * scale + offset).clamp_(0, 255).to(torch.uint8)


def equalize(images: Tensor, strengths: Tensor) -> Tensor:
    """Make the histogram of each channel as flat as a mapping of values can; the strength has no effect."""
    pixels = images.flatten(2).long()
    histogram = torch.zeros((*images.shape[:2], 256), dtype=torch.int64)
    histogram.scatter_add_(2, pixels, torch.ones_like(pixels))
    brightest = histogram.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - brightest) // 255
    before = histogram.cumsum(2) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256))
    return table.gather(2, pixels).to(torch.uint8).view_as(images)


Operation = Callable[[Tensor, Tensor], Tensor]
OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        operation.__name__: operation
        for operation in (
            identity,
            shear_x,
            shear_y,
            translate_x,
            translate_y,
            rotate,
            brightness,
            color,
            contrast,
            sharpness,
            posterize,
            solarize,
            autocontrast,
            equalize,
        )
    }
)
"""The changes of the wide space by name."""


def _warped(images: Tensor, entries: Mapping[tuple[int, int], Tensor]) -> Tensor:
    """Images whose pixel at (x, y) is the one at ``matrix @ (x, y, 1)``, the nearest; black where there is none.

    Args:
        images: uint8 (n, channels, height, width).
        entries: those of the matrix, by row and column, that differ from the identity, (n,) each; x and y are in
            pixels from the upper left corner, to the right and downwards.
    """
    n, channels, height, width = images.shape
    matrix = torch.eye(3)[:2].repeat(n, 1, 1)
    for (row, column), values in entries.items():
        matrix[:, row, column] = values
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones(height * width)])
    columns, rows = (matrix @ points).floor_().long().unbind(1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixels = (rows * width + columns).mul_(inside)[:, None].expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).mul_(inside[:, None]).view_as(images)


def _blended(start: Tensor, images: Tensor, strengths: Tensor) -> Tensor:
    """From ``start`` (at strength -1, nearly) through the images (at 0) to as far beyond them, cut at 0 and 255."""
    return torch.lerp(start, images.float(), _per_image(1 + 0.99 * strengths)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Float (n, 1, height, width): the luma of ITU-R 601 for three channels, else the mean; whole numbers."""
    channels = images.shape[1]
    # 16-bit weights as in Pillow; all sums are below 2**24 and so exact.
    weights = torch.tensor([19595.0, 38470.0, 7471.0]) if channels == 3 else torch.full((channels,), 65536 / channels)
    sums = weights @ images.flatten(2).float()
    return sums.add_(32768).div_(65536).floor_().view(-1, 1, *images.shape[2:])


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
