"""Networks of units of inverted residuals with elastic depth, kernel and expansion: what once-for-all's mobile spaces
have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from search_spaces.convnet.blocks import ConvNormAct, Head, MBConv, check_sizes, make_divisible, pixels
from search_spaces.space import Choice, Slot, Value, Variant
from search_spaces.spec import ModuleSpec


@dataclass(frozen=True)
class Unit:
    """Blocks of the same number of output channels.

    Attributes:
        channels: of the output.
        stride: of the first block.
        depths: numbers of blocks that it may have.
        activation: `relu`, `relu6` or `hardswish`.
        squeeze_excite: whether the blocks have it.
    """

    channels: int
    stride: int
    depths: tuple[int, ...]
    activation: str
    squeeze_excite: bool = False


@dataclass(frozen=True)
class Network:
    """What is not a choice.

    Attributes:
        units: one after the other.
        in_channels: of the images.
        stem: channels of the first convolution.
        stem_stride: its stride.
        first: channels of the first block, which is fixed: kernel 3 and no expansion.
        first_activation: of the first block.
        activation: of the first convolution and of the head.
        head: channels before the global average.
        features: channels after it; 0 leaves that layer out.
        classes: number of classes.
        epsilon: of batch normalisation, when it is not the usual one.
    """

    units: tuple[Unit, ...]
    in_channels: int
    stem: int
    stem_stride: int
    first: int
    first_activation: str
    activation: str
    head: int
    features: int
    classes: int
    epsilon: float | None = None

    def parts(
        self, resolutions: Sequence[int], kernels: Sequence[int], expansions: Sequence[int]
    ) -> tuple[tuple[Choice, ...], tuple[Slot, ...]]:
        """Choices and slots of the space of these networks, with kernel and expansion per block.

        Raises:
            ValueError: when a size is impossible.
        """
        for unit in self.units:
            check_sizes(resolutions, unit.depths, kernels, expansions)
        choices = [Choice("resolution", tuple(sorted(resolutions)))]
        slots = [
            Slot("stem", ("resolution",), self._stem),
            Slot("first", ("resolution",), self._first),
        ]
        reduction, before = self.stem_stride, self.first
        for number, unit in enumerate(self.units, start=1):
            depth = Choice(f"unit{number}_depth", tuple(sorted(unit.depths)))
            choices.append(depth)
            for layer in range(1, max(unit.depths) + 1):
                name = f"unit{number}_block{layer}"
                needed = (depth.name, tuple(d for d in depth.options if int(d) >= layer))
                choices.append(Choice(f"{name}_kernel", tuple(sorted(kernels)), needed))
                choices.append(Choice(f"{name}_expansion", tuple(sorted(expansions)), needed))
                stride = unit.stride if layer == 1 else 1
                block = partial(
                    self._block,
                    name=name,
                    depth=depth.name,
                    layer=layer,
                    unit=unit,
                    in_channels=before if layer == 1 else unit.channels,
                    stride=stride,
                    reduction=reduction,
                )
                slots.append(Slot(name, ("resolution", depth.name, f"{name}_kernel", f"{name}_expansion"), block))
                reduction *= stride
            before = unit.channels
        slots.append(Slot("head", ("resolution",), partial(self._head, in_channels=before, reduction=reduction)))
        return tuple(choices), tuple(slots)

    def _stem(self, values: Mapping[str, Value], phase: str) -> Variant:
        size = pixels(values, 1)
        spec = ModuleSpec.of(
            ConvNormAct, in_channels=self.in_channels, out_channels=self.stem, kernel=3, stride=self.stem_stride,
            activation=self.activation, epsilon=self.epsilon,
        )  # fmt: skip
        return Variant(spec, ((1, self.in_channels, size, size),))

    def _first(self, values: Mapping[str, Value], phase: str) -> Variant:
        size = pixels(values, self.stem_stride)
        spec = ModuleSpec.of(
            MBConv, in_channels=self.stem, out_channels=self.first, hidden=self.stem, kernel=3, stride=1,
            activation=self.first_activation, expand=False, epsilon=self.epsilon,
        )  # fmt: skip
        return Variant(spec, ((1, self.stem, size, size),))

    def _block(
        self,
        values: Mapping[str, Value],
        phase: str,
        *,
        name: str,
        depth: str,
        layer: int,
        unit: Unit,
        in_channels: int,
        stride: int,
        reduction: int,
    ) -> Variant | None:
        if int(values[depth]) < layer:
            return None
        hidden = make_divisible(in_channels * int(values[f"{name}_expansion"]))
        spec = ModuleSpec.of(
            MBConv,
            in_channels=in_channels,
            out_channels=unit.channels,
            hidden=hidden,
            kernel=int(values[f"{name}_kernel"]),
            stride=stride,
            activation=unit.activation,
            squeeze=make_divisible(hidden // 4) if unit.squeeze_excite else 0,
            epsilon=self.epsilon,
        )
        size = pixels(values, reduction)
        return Variant(spec, ((1, in_channels, size, size),))

    def _head(self, values: Mapping[str, Value], phase: str, *, in_channels: int, reduction: int) -> Variant:
        size = pixels(values, reduction)
        spec = ModuleSpec.of(
            Head, in_channels=in_channels, channels=self.head, features=self.features, classes=self.classes,
            activation=self.activation, epsilon=self.epsilon,
        )  # fmt: skip
        return Variant(spec, ((1, in_channels, size, size),))
