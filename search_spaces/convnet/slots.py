"""The slots of networks for images whose channels and resolution follow from choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from search_spaces.convnet.blocks import ConvNormAct, Head, pixels
from search_spaces.space import Slot, Value, Variant
from search_spaces.spec import ModuleSpec

Values = Mapping[str, Value]


@dataclass(frozen=True)
class Channels:
    """A number of channels.

    Attributes:
        count: gives it, from the values of the choices.
        choices: names of those that it depends on.
    """

    count: Callable[[Values], int]
    choices: tuple[str, ...] = ()

    @classmethod
    def fixed(cls, number: int) -> Channels:
        """The same in all architectures."""
        return cls(lambda values: number)

    @classmethod
    def chosen(cls, choice: str) -> Channels:
        """What the choice of that name says."""
        return cls(lambda values: int(values[choice]), (choice,))


#: Makes the module of a slot from the values of its choices and the channels of its input; `None` leaves it out.
Maker = Callable[[Values, int], ModuleSpec | None]


def slot(name: str, choices: tuple[str, ...], source: Channels, reduction: int, make: Maker) -> Slot:
    """A slot that reads one image.

    Args:
        name: of the slot.
        choices: names of those that `make` looks at.
        source: channels of the input.
        reduction: how many times smaller than the network's the image is; the choice `resolution` says how large that is.
        make: the module.
    """
    depends = dict.fromkeys(("resolution", *source.choices, *choices))
    return Slot(name, tuple(depends), partial(_variant, source, reduction, make))


def _variant(source: Channels, reduction: int, make: Maker, values: Values, phase: str) -> Variant | None:
    channels = source.count(values)
    spec = make(values, channels)
    size = pixels(values, reduction)
    return None if spec is None else Variant(spec, ((1, channels, size, size),))


def stem(in_channels: int, channels: Channels, stride: int, activation: str) -> Slot:
    """A 3x3 convolution on the network's images."""

    def make(values: Values, source: int) -> ModuleSpec:
        return ModuleSpec.of(
            ConvNormAct,
            in_channels=source,
            out_channels=channels.count(values),
            kernel=3,
            stride=stride,
            activation=activation,
        )

    return slot("stem", channels.choices, Channels.fixed(in_channels), 1, make)


def head(
    source: Channels,
    reduction: int,
    channels: Channels,
    classes: int,
    activation: str,
    features: Channels | None = None,
) -> Slot:
    """A 1x1 convolution, the global average, a hidden layer where there are `features`, and the classifier."""

    def make(values: Values, in_channels: int) -> ModuleSpec:
        hidden = {} if features is None else {"features_bias": True}
        return ModuleSpec.of(
            Head,
            in_channels=in_channels,
            channels=channels.count(values),
            features=0 if features is None else features.count(values),
            classes=classes,
            activation=activation,
            **hidden,
        )

    return slot("head", (*channels.choices, *(features.choices if features else ())), source, reduction, make)
