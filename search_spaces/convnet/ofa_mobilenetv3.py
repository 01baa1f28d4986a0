"""Once-for-all's supernet of MobileNetV3 as it was published (Cai et al., ICLR 2020): the same choices, the same
weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search_spaces.convnet.mobilenetv3 import mobilenetv3
from search_spaces.convnet.ofa_weights import converter, inverted_residuals, normalised
from search_spaces.space import SearchSpace


def ofa_mobilenetv3(
    *,
    width: float = 1.0,
    resolutions: Sequence[int] = tuple(range(128, 225, 4)),
    classes: int = 1000,
    depths: Sequence[int] = (2, 3, 4),
    kernels: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 4, 6),
) -> SearchSpace:
    """The space of `ofa_mbv3_d234_e346_k357_w1.0` and, with width 1.2, of `ofa_mbv3_d234_e346_k357_w1.2`.

    It is `mobilenetv3` at its default sizes, whose choices have the same names. Checkpoints of the official project
    are loaded by `Supernet.load_pretrained("ofa", path)`.

    Args:
        width: multiplier of all channels (a fixed property, not a choice).
        resolutions: input sizes in pixels.
        classes: number of classes.
        depths: numbers of blocks that a unit may have.
        kernels: sizes of the depthwise convolutions.
        expansions: ratios of hidden to input channels.

    Raises:
        ValueError: when a size is impossible.
    """
    options = dict(locals())
    space = mobilenetv3(**options)
    modules = inverted_residuals(space.slots)
    modules |= normalised("final_expand_layer", "slots.head.head.expand")
    modules |= {"feature_mix_layer.conv": "slots.head.head.mix", "classifier.linear": "slots.head.head.classifier"}
    return replace(space, name="ofa-mobilenetv3", options=options, pretrained={"ofa": converter(modules)})
