"""Random changes to training images, a whole batch at a time."""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.tasks.task import DataError
from nas.tasks.trivial_augment import trivial_augment


@dataclass(frozen=True)
class Augmentation:
    """Which random changes each training image gets; 0 or False leaves one out.

    Raises:
        DataError: a number is out of its range.
    """

    rotation_degrees: float = 0.0
    """Largest angle, to either side."""
    scale: float = 0.0
    """Largest growth and shrinkage, as a share of the size; below 1."""
    translation: float = 0.0
    """Largest shift up, down, left or right, as a share of the side; what moves in is black."""
    crop_padding: int = 0
    """Pixels mirrored around the image before a crop of the old size; less than the side."""
    flip: bool = False
    """Whether every second image, at random, is mirrored left to right."""
    trivial_augment: bool = False
    """Whether each image gets one random change of colours, sharpness or shape, see ``nas.tasks.trivial_augment``."""
    cutout: int = 0
    """Side in pixels of a square, anywhere, that takes the mean colour of its image."""

    def __post_init__(self) -> None:
        bounds = {"rotation_degrees": 180.0, "scale": 0.99, "translation": 1.0}
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= bounds.get(field.name, math.inf):
                limit = f"0 to {bounds[field.name]:g}" if field.name in bounds else "0 or more"
                raise DataError(f"augmentation: {field.name} is {value}, give {limit}")

    @classmethod
    def default(cls, channels: int, image_size: tuple[int, int]) -> "Augmentation":
        """Crop and flip for colour photographs; for one channel (digits, letters, scans) a small affine change."""
        if channels == 1:
            return cls(rotation_degrees=10.0, scale=0.1, translation=0.1)
        return cls(crop_padding=min(image_size) // 8, flip=True)

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise DataError when images of this (height, width) are too small for the padding."""
        if self.crop_padding >= min(image_size):
            raise DataError(
                f"augmentation: crop_padding is {self.crop_padding}, "
                f"images of {image_size[0]}x{image_size[1]} pixels need less than {min(image_size)}"
            )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of uint8 images (n, channels, height, width); the generator decides how."""
        n, _, height, width = images.shape
        if self.rotation_degrees or self.scale or self.translation:
            angles, growth, shifts_y, shifts_x = torch.rand((4, n), generator=generator) * 2 - 1
            images = affine(
                images,
                angles * math.radians(self.rotation_degrees),
                1 + growth * self.scale,
                torch.stack([shifts_y * height, shifts_x * width]) * self.translation,
            )
        if self.crop_padding or self.flip:
            offsets = torch.randint(-self.crop_padding, self.crop_padding + 1, (2, n), generator=generator)
            flipped = (torch.rand(n, generator=generator) < 0.5) & self.flip
            images = crop_and_flip(images, offsets, flipped)
        if self.trivial_augment:
            images = trivial_augment(images, generator)
        if self.cutout:
            centres = torch.rand((2, n), generator=generator) * torch.tensor([[height], [width]])
            images = cut_out(images, centres.long(), self.cutout)
        return images


def affine(images: Tensor, angles: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """Turn, scale and shift images about their centre, with bilinear interpolation on a black ground.

    Args:
        images: uint8 (n, channels, height, width).
        angles: radians (n,), positive is counterclockwise as seen.
        scales: (n,), above 1 enlarges.
        shifts: pixels down and to the right, (2, n).
    """
    height, width = images.shape[2:]
    cosine, sine = torch.cos(angles) / scales, torch.sin(angles) / scales
    # From a place in the result to one in the image, both in half sides from the centre (-1 to 1), x before y.
    shift_y, shift_x = shifts[0] * 2 / height, shifts[1] * 2 / width
    across, along = -sine * height / width, sine * width / height
    theta = torch.stack(
        [
            torch.stack([cosine, across, -cosine * shift_x - across * shift_y], 1),
            torch.stack([along, cosine, -along * shift_x - cosine * shift_y], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)


def crop_and_flip(images: Tensor, offsets: Tensor, flipped: Tensor) -> Tensor:
    """Move a window of the image's own size over the mirror-padded image, then mirror the chosen ones left to right.

    Args:
        images: uint8 (n, channels, height, width).
        offsets: pixels down and to the right that the window moves, int64 (2, n); less than the sides.
        flipped: bool (n,).
    """
    n, channels, height, width = images.shape
    rows = _mirrored(offsets[0, :, None] + torch.arange(height), height)
    columns = _mirrored(offsets[1, :, None] + torch.arange(width), width)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1).expand(n, channels, -1)
    return images.reshape(n, channels, -1).gather(2, pixels).view_as(images)


def cut_out(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Fill a square with the mean colour of each image.

    Args:
        images: uint8 (n, channels, height, width).
        centres: row and column of the centres, int64 (2, n); an even square reaches further up and left.
        side: pixels; what would lie outside the image is lost.
    """
    inside_y, inside_x = (
        (first <= place) & (place < first + side)
        for first, place in zip(
            (centres - side // 2)[:, :, None], (torch.arange(s) for s in images.shape[2:]), strict=True
        )
    )
    means = images.float().mean((2, 3), keepdim=True).round_().to(torch.uint8)
    inside: Tensor = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return images ^ ((images ^ means) * inside)  # torch.where is far slower on uint8


def _mirrored(places: Tensor, side: int) -> Tensor:
    """Places beyond an edge, reflected at the edge pixel."""
    return (side - 1) - ((side - 1) - places.abs()).abs()
