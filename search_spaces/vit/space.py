"""A space of vision transformers with entangled weights, as AutoFormer's (Chen et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from search_spaces.checks import check_positive
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec
from search_spaces.vit.blocks import Classifier, FeedForward, PatchEmbedding, SelfAttention
from search_spaces.vit.pretrained import SOURCES

#: DeiT by width and heads (Touvron et al., ICML 2021); twelve layers of ratio 4 on patches of 16 pixels.
DEIT = {"DeiT-Ti": (192, 3), "DeiT-S": (384, 6), "DeiT-B": (768, 12)}

#: What a block depends on beside choices of its own.
_SHARED = ("resolution", "patch", "width")


def vit(
    *,
    resolutions: Sequence[int] = (224,),
    in_channels: int = 3,
    classes: int = 1000,
    patches: Sequence[int] = (16,),
    stem: Sequence[int] = (),
    widths: Sequence[int] = (192, 216, 240),
    depths: Sequence[int] = (12, 13, 14),
    heads: Sequence[int] = (3, 4),
    head_width: int = 64,
    ratios: Sequence[float] = (3.5, 4),
    class_token: bool = True,
    epsilon: float = 1e-6,
) -> SearchSpace:
    """Vision transformers: size of patches, width and depth; heads and ratio of the feed-forward for each layer.

    By default the choices of AutoFormer-tiny, without its relative positions. With `widths=(192, 384, 768)`,
    `heads=(3, 6, 12)`, `depths=(12,)` and `ratios=(4,)` the space has all DeiT by name. For images of 32 pixels take
    patches of 4, `widths` from 96 to 192, and a `stem`.

    Smaller networks are the first features, heads, hidden units and layers of larger ones. Patches of each size have
    an embedding and positions of their own; positions are interpolated for smaller resolutions.

    Args:
        resolutions: input sizes in pixels (elastic when there are several); multiples of all `patches`.
        in_channels: of the images.
        classes: number of classes.
        patches: sizes of a patch in pixels.
        stem: channels of 3x3 convolutions with stride 2 before the patches, which they are part of: with two of them
            a patch of 4 pixels is one of their outputs.
        widths: of a token.
        depths: numbers of layers, each attention and feed-forward.
        heads: numbers of heads of a layer.
        head_width: features of a head.
        ratios: of hidden units of the feed-forward to the width.
        class_token: whether a token of its own is classified, or the mean of all.
        epsilon: of layer normalisation.

    Raises:
        ValueError: when a size is not positive, or a resolution is not a multiple of a patch, or a patch not one of
            what the stem divides by.
    """
    options = dict(locals())
    check_positive(**{name: value for name, value in options.items() if name not in ("class_token", "stem")})
    check_positive(stem=(*stem, 1))
    _check_divisible(resolutions, patches, stem)
    # The smallest patches make the largest network.
    shared = [
        Choice("resolution", tuple(sorted(resolutions))),
        Choice("patch", tuple(sorted(patches, reverse=True))),
        Choice("width", tuple(sorted(widths))),
    ]
    choices = [*shared, Choice("depth", tuple(sorted(depths)))]
    embedding = {"in_channels": in_channels, "class_token": class_token, "stem": tuple(stem)}
    slots = [Slot(f"patch{patch}", _SHARED, partial(_embedding, patch, embedding)) for patch in shared[1].options]
    for layer in range(1, max(depths) + 1):
        needed = ("depth", tuple(depth for depth in choices[3].options if int(depth) >= layer))
        head, ratio = f"layer{layer}_heads", f"layer{layer}_ratio"
        choices += [Choice(head, tuple(sorted(heads)), needed), Choice(ratio, tuple(sorted(ratios)), needed)]
        attention = partial(_attention, layer, head, int(class_token), {"head_width": head_width, "epsilon": epsilon})
        feed_forward = partial(_feed_forward, layer, ratio, int(class_token), {"epsilon": epsilon})
        slots.append(Slot(f"layer{layer}_attention", (*_SHARED, "depth", head), attention))
        slots.append(Slot(f"layer{layer}_feed_forward", (*_SHARED, "depth", ratio), feed_forward))
    last = {"classes": classes, "class_token": class_token, "epsilon": epsilon}
    slots.append(Slot("classifier", _SHARED, partial(_classifier, last)))
    named = _deit(choices) if class_token and head_width == 64 and not stem else {}
    return SearchSpace("vit", tuple(choices), tuple(slots), options, named=named, pretrained=SOURCES)


def _check_divisible(resolutions: Sequence[int], patches: Sequence[int], stem: Sequence[int]) -> None:
    reduction = 2 ** len(stem)
    for patch in patches:
        if patch % reduction:
            raise ValueError(f"patches must be multiples of {reduction}, by which the stem divides, not {patch}")
        for resolution in resolutions:
            if resolution % patch:
                raise ValueError(f"resolutions must be multiples of the patches; {resolution} is not one of {patch}")


def _deit(choices: Sequence[Choice]) -> dict[str, dict[str, Value]]:
    """The published networks that these choices can describe."""
    options = {choice.name: choice.options for choice in choices}
    found: dict[str, dict[str, Value]] = {}
    for name, (width, heads) in DEIT.items():
        values: dict[str, Value] = {"resolution": 224, "patch": 16, "width": width, "depth": 12}
        for layer in range(1, 13):
            values |= {f"layer{layer}_heads": heads, f"layer{layer}_ratio": 4}
        if all(value in options.get(choice, ()) for choice, value in values.items()):
            found[name] = values
    return found


def _grid(values: Mapping[str, Value]) -> int:
    return int(values["resolution"]) // int(values["patch"])


def _tokens(values: Mapping[str, Value], leading: int) -> tuple[int, int, int]:
    return 1, leading + _grid(values) ** 2, int(values["width"])


def _embedding(
    patch: Value, arguments: Mapping[str, object], values: Mapping[str, Value], phase: str
) -> Variant | None:
    if values["patch"] != patch:
        return None
    size, width = int(values["resolution"]), int(values["width"])
    spec = ModuleSpec.of(PatchEmbedding, width=width, patch=patch, grid=_grid(values), **arguments)
    return Variant(spec, ((1, spec["in_channels"], size, size),))


def _attention(
    layer: int, heads: str, leading: int, arguments: Mapping[str, object], values: Mapping[str, Value], phase: str
) -> Variant | None:
    if int(values["depth"]) < layer:
        return None
    spec = ModuleSpec.of(SelfAttention, width=int(values["width"]), heads=int(values[heads]), **arguments)
    return Variant(spec, (_tokens(values, leading),))


def _feed_forward(
    layer: int, ratio: str, leading: int, arguments: Mapping[str, object], values: Mapping[str, Value], phase: str
) -> Variant | None:
    if int(values["depth"]) < layer:
        return None
    width = int(values["width"])
    spec = ModuleSpec.of(FeedForward, width=width, hidden=round(float(values[ratio]) * width), **arguments)
    return Variant(spec, (_tokens(values, leading),))


def _classifier(arguments: Mapping[str, object], values: Mapping[str, Value], phase: str) -> Variant:
    spec = ModuleSpec.of(Classifier, width=int(values["width"]), **arguments)
    return Variant(spec, (_tokens(values, int(spec["class_token"])),))
