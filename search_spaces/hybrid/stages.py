"""The stages of a hybrid network: the choices of their blocks, and the modules that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from search_spaces.convnet.blocks import pixels
from search_spaces.hybrid.blocks import KINDS, Place
from search_spaces.space import Choice, Slot, Value, Variant

#: A number of channels, or the name of the choice that decides it.
Channels = int | str


def number(values: Mapping[str, Value], channels: Channels) -> int:
    """The number of channels."""
    return channels if isinstance(channels, int) else int(values[channels])


class Stage:
    """A first block that changes the shape, and blocks that keep it.

    Args:
        options: of the space.
        position: of the stage, from 0.
        before: channels that come in.
        reduction: strides before it in all.

    Attributes:
        choices: those of the stage.
        slots: its blocks.
        width: channels that go out.
        reduction: strides in all, its own included.
    """

    def __init__(self, options: Mapping[str, Any], position: int, before: Channels, reduction: int) -> None:
        self.choices: list[Choice] = []
        self.slots: list[Slot] = []
        self.width, self.reduction = before, reduction
        self._options = options
        name, stride = f"stage{position + 1}", options["strides"][position]
        if stride:
            width = Choice(f"{name}_width", tuple(sorted(options["widths"][position])))
            self.choices.append(width)
            kinds, expansions = options["first_kinds"][position], options["first_expansions"]
            self._add(f"{name}_first", kinds, expansions, width.name, stride)
            self.width, self.reduction = width.name, reduction * stride
        depth = Choice(f"{name}_depth", tuple(sorted(options["depths"][position])))
        self.choices.append(depth)
        kinds, expansions = options["kinds"][position], options["expansions"]
        slots = max(options["depths"][position])
        if any(KINDS[kind].whole for kind in kinds):
            slots = min(slots, 1)
        for layer in range(1, slots + 1):
            self._add(f"{name}_block{layer}", kinds, expansions, self.width, 1, _needed(depth, layer))

    def _add(
        self,
        name: str,
        kinds: Sequence[str],
        expansions: Sequence[int],
        target: Channels,
        stride: int,
        needed: tuple[str, tuple[Value, ...]] | None = None,
    ) -> None:
        # In the order of the table, which is roughly that of their costs.
        kind = Choice(f"{name}_kind", tuple(k for k in KINDS if k in kinds), needed, ordered=False)
        elastic = tuple(k for k in kind.options if KINDS[str(k)].elastic_kernel)
        kernel = Choice(f"{name}_kernel", tuple(sorted(self._options["kernels"])), (kind.name, elastic))
        expands = tuple(k for k in kind.options if KINDS[str(k)].expands)
        asked = needed if expands == kind.options else (kind.name, expands)
        expansion = Choice(f"{name}_expansion", tuple(sorted(expansions)), asked)
        own = [kind, *([kernel] if elastic else []), *([expansion] if expands else [])]
        block = _Block(
            name=name,
            source=self.width,
            target=target,
            needed=needed,
            stride=stride,
            reduction=self.reduction,
            largest_resolution=ceil(max(self._options["resolutions"]) / self.reduction),
            activation=self._options["activation"],
        )
        self.choices += own
        self.slots.append(Slot(name, ("resolution", *block.depends, *(choice.name for choice in own)), block.variant))


def _needed(depth: Choice, layer: int) -> tuple[str, tuple[Value, ...]]:
    """The depths with which the block number `layer` is there."""
    return depth.name, tuple(value for value in depth.options if int(value) >= layer)


@dataclass(frozen=True)
class _Block:
    """What a block is for the values of its choices.

    Attributes:
        name: of its slot.
        source: channels that come in.
        target: channels that go out.
        needed: a choice, and those of its values with which the block is there.
        stride: of the block.
        reduction: strides before it in all.
        largest_resolution: of its input, in pixels.
        activation: of kinds that leave it open.
    """

    name: str
    source: Channels
    target: Channels
    needed: tuple[str, tuple[Value, ...]] | None
    stride: int
    reduction: int
    largest_resolution: int
    activation: str

    @property
    def depends(self) -> tuple[str, ...]:
        """Choices beside its own that it depends on."""
        names = [name for name in (self.source, self.target) if isinstance(name, str)]
        return tuple(dict.fromkeys([*names, *(self.needed or ())[:1]]))

    def variant(self, values: Mapping[str, Value], phase: str) -> Variant | None:
        """The module and the shape of its input; `None` where the block is left out."""
        if self.needed is not None and values[self.needed[0]] not in self.needed[1]:
            return None
        size, channels = pixels(values, self.reduction), number(values, self.source)
        place = Place(
            in_channels=channels,
            out_channels=number(values, self.target),
            expansion=int(values.get(f"{self.name}_expansion", 0)),
            kernel=int(values.get(f"{self.name}_kernel", 0)),
            stride=self.stride,
            resolution=size,
            largest_resolution=self.largest_resolution,
            activation=self.activation,
            depth=0 if self.needed is None else int(values[self.needed[0]]),
        )
        spec = KINDS[str(values[f"{self.name}_kind"])].spec(place)
        return Variant(spec, ((1, channels, size, size),))
