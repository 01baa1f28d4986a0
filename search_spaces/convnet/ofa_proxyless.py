"""Once-for-all's supernet of ProxylessNAS as it was published (Cai et al., ICLR 2020 and ICLR 2019): the same choices,
the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.convnet.blocks import make_divisible
from search_spaces.convnet.inverted_residuals import Network, Unit
from search_spaces.convnet.ofa_weights import converter, inverted_residuals, normalised
from search_spaces.space import SearchSpace, Value

_ACTIVATION = "relu6"
_CHANNELS = (24, 40, 80, 96, 192)
_STRIDES = (2, 2, 2, 1, 2)
_PUBLISHED_WIDTH = 1.3

#: Resolution, then the blocks of each unit as kernel x expansion: from the configurations that the authors publish
#: beside the weights of these networks, which are subnets of the published supernet.
_SPECIALISED = {
    "tx2_gpu16@96ms_top1@75.8_finetune@25":
        (172, "3x3 3x4 3x6 | 7x3 5x4 | 3x4 5x4 5x4 5x3 | 5x4 7x3 7x3 3x6 | 3x6 3x6 5x6 3x4 | 5x3"),
    "tx2_gpu16@35ms_top1@70.3_finetune@25":
        (128, "3x4 3x3 | 3x6 7x6 | 5x6 5x3 | 5x3 3x4 | 5x6 3x4 | 5x4"),
    "1080ti_gpu64@12ms_top1@72.6_finetune@25":
        (128, "3x3 3x3 | 3x6 5x4 5x4 | 5x6 5x3 7x3 | 3x4 7x3 3x6 3x4 | 7x6 5x4 7x3 5x3 | 3x6"),
}  # fmt: skip


def ofa_proxyless(
    *,
    width: float = _PUBLISHED_WIDTH,
    resolutions: Sequence[int] = tuple(range(128, 225, 4)),
    classes: int = 1000,
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
) -> SearchSpace:
    """The space of `ofa_proxyless_d234_e346_k357_w1.3`: five units of elastic depth and one of a single block.

    Checkpoints of the official project are loaded by `Supernet.load_pretrained("ofa", path)`. At the published options
    it has specialised networks of the authors by name; their accuracy is after more training.

    Args:
        width: multiplier of all channels (a fixed property, not a choice).
        resolutions: input sizes in pixels.
        classes: number of classes.
        depths: numbers of blocks that each unit but the last may have.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels.

    Raises:
        ValueError: when a size is impossible.
    """
    options = dict(locals())
    stem, first, last, head, *channels = (make_divisible(c * width) for c in (32, 16, 320, 1280, *_CHANNELS))
    units = [Unit(c, stride, tuple(depths), _ACTIVATION) for c, stride in zip(channels, _STRIDES, strict=True)]
    network = Network(
        (*units, Unit(last, 1, (1,), _ACTIVATION)), in_channels=3, stem=stem, stem_stride=2, first=first,
        first_activation=_ACTIVATION, activation=_ACTIVATION, head=head, features=0, classes=classes, epsilon=1e-3,
    )  # fmt: skip
    choices, slots = network.parts(resolutions, kernels, expansions)
    modules = inverted_residuals(slots) | normalised("feature_mix_layer", "slots.head.head.expand")
    modules["classifier.linear"] = "slots.head.head.classifier"
    known = {choice.name: choice.options for choice in choices}
    named = {name: _values(*specialised) for name, specialised in _SPECIALISED.items()}
    fitting = {
        name: values
        for name, values in named.items()
        if width == _PUBLISHED_WIDTH and all(value in known.get(choice, ()) for choice, value in values.items())
    }
    return SearchSpace(
        "ofa-proxyless", choices, slots, options, named=fitting, pretrained={"ofa": converter(modules)}
    )  # fmt: skip


def _values(resolution: int, blocks: str) -> Mapping[str, Value]:
    """Values of the choices of an architecture that is written as in `_SPECIALISED`."""
    values: dict[str, Value] = {"resolution": resolution}
    for unit, row in enumerate(blocks.split("|"), start=1):
        values[f"unit{unit}_depth"] = len(row.split())
        for block, text in enumerate(row.split(), start=1):
            kernel, expansion = map(int, text.split("x"))
            values |= {f"unit{unit}_block{block}_kernel": kernel, f"unit{unit}_block{block}_expansion": expansion}
    return values
