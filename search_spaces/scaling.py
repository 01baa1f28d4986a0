"""Making a network wider, deeper and of another resolution, or less so: a space of the same family holds the result."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_spaces.space import Architecture, SearchSpace, Value


@dataclass(frozen=True)
class Scale:
    """Factors of width, depth and resolution, and how what they give is rounded.

    Attributes:
        width: of all numbers of channels.
        depth: of the number of blocks of each stage.
        resolution: of the sides of the image.
        divisor: of every number of channels.
        least: smallest number of channels.
    """

    width: float
    depth: float
    resolution: float
    divisor: int = 8
    least: int = 1

    def channels(self, channels: int) -> int:
        """The nearest multiple of `divisor`, at least `least`."""
        return max(self.least, _nearest(channels * self.width, self.divisor))

    def blocks(self, blocks: int) -> int:
        """The nearest number of blocks."""
        return _nearest(blocks * self.depth, 1)

    def pixels(self, pixels: int) -> int:
        """The nearest multiple of 4."""
        return _nearest(pixels * self.resolution, 4)

    def all_channels(self, options: Iterable[int]) -> tuple[int, ...]:
        """Of the options of a choice; those that have become equal are one."""
        return tuple(sorted({self.channels(option) for option in options}))

    def all_blocks(self, options: Iterable[int]) -> tuple[int, ...]:
        """As `all_channels`."""
        return tuple(sorted({self.blocks(option) for option in options}))

    def all_pixels(self, options: Iterable[int]) -> tuple[int, ...]:
        """As `all_channels`."""
        return tuple(sorted({self.pixels(option) for option in options}))


def _nearest(value: float, divisor: int) -> int:
    return max(1, floor(value / divisor + 0.5)) * divisor


def carried_over(architecture: Architecture, scale: Scale, space: SearchSpace) -> Architecture:
    """The architecture of a scaled space that corresponds to one of the space before.

    For spaces whose choices are called `resolution`, `STAGE_depth`, `STAGE_width` and `STAGE_blockN_PROPERTY`. The
    blocks of a deeper stage repeat those of the stage before, each one where it stood.

    Raises:
        ValueError: when the scaled space has no such architecture.
    """
    from search_spaces.space import Architecture

    before = architecture.values
    values = tuple((choice.name, _value(choice.name, choice.options[0], before, scale)) for choice in space.choices)
    (found,) = space.architectures(space.codes([Architecture(space.name, values)]))
    return found


def _value(name: str, default: Value, before: dict[str, Value], scale: Scale) -> Value:
    if name == "resolution":
        return scale.pixels(int(before[name]))
    if name.endswith("_depth"):
        return scale.blocks(int(before[name]))
    if name.endswith("_width"):
        return scale.channels(int(before[name]))
    block = re.fullmatch(r"(.+)_block(\d+)_(.+)", name)
    if block is None:
        return before[name]
    stage, number, what = block[1], int(block[2]), block[3]
    old = int(before[f"{stage}_depth"])
    new = scale.blocks(old)
    return before[f"{stage}_block{1 + (number - 1) * old // new}_{what}"] if number <= new else default
