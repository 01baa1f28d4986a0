"""Mixed images with mixed targets, a whole batch at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from nas.tasks.task import DataError


@dataclass(frozen=True)
class Mixing:
    """Whether each training image is mixed with another of its batch; 0 leaves a method out.

    Each batch draws one share from a beta distribution with both parameters equal to the number given: near 0 most
    images stay nearly as they are, 1 makes all shares equally likely. With both numbers above 0, each batch draws
    its method too, either one as often.

    Raises:
        DataError: a number is negative or not finite.
    """

    mixup: float = 0.0
    """mixup (Zhang et al., ICLR 2018): weighted means of two images; the paper has 0.1 to 0.4 for ImageNet."""
    cutmix: float = 0.0
    """CutMix (Yun et al., ICCV 2019): a rectangle of another image; the paper has 1."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise DataError(f"{field.name} is {value}, give 0 or more")

    def __bool__(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, images: Tensor, shares: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Each image mixed with the one before it in the batch, which is as good as random in a shuffled batch.

        Args:
            images: float (n, channels, height, width).
            shares: of the classes in each image, float (n, classes); one-hot for images of one class.
            generator: decides how.

        Returns:
            The mixed images, and the shares of the classes in them.
        """
        methods: list[tuple[float, Callable[[Tensor, float, torch.Generator], tuple[Tensor, float]]]] = [
            (number, method) for number, method in ((self.mixup, blend), (self.cutmix, paste)) if number
        ]
        if not methods:
            return images, shares
        number, method = methods[_draw(len(methods), generator)]
        # Torch's beta distribution takes no generator, so that NumPy's gets a seed from it.
        kept = np.random.default_rng(_draw(2**63 - 1, generator)).beta(number, number)
        mixed, kept = method(images, kept, generator)
        return mixed, torch.lerp(shares.roll(1, 0), shares, kept)


def blend(images: Tensor, kept: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """The weighted mean of each image (weight ``kept``) and the one before it; returned with ``kept``."""
    return torch.lerp(images.roll(1, 0), images, kept), kept


def paste(images: Tensor, kept: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Paste a rectangle of the image before into each image, at the same random place in all of them.

    Args:
        images: (n, channels, height, width).
        kept: share of the area outside of the rectangle, 0 to 1, which has the proportions of the image.
        generator: draws the centre, anywhere in the image; what lies outside is lost.

    Returns:
        The new images, and the share of the area that was really kept.
    """
    height, width = images.shape[2:]
    (top, bottom), (left, right) = (
        _section(side, side * math.sqrt(1 - kept), _draw(side, generator)) for side in (height, width)
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _section(side: int, length: float, centre: int) -> tuple[int, int]:
    half = int(length / 2)  # as in the authors' code
    return max(centre - half, 0), min(centre + half, side)


def _draw(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
