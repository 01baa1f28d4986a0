"""A space of small language models whose layers choose how they mix tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from search_spaces.slm.blocks import Embedding, Head
from search_spaces.slm.checkpoints.weights import SOURCES
from search_spaces.slm.feed_forward import FeedForward
from search_spaces.slm.mixers import KINDS, MIXERS, SKIP
from search_spaces.slm.named import named
from search_spaces.slm.options import filled_in, preset_options
from search_spaces.space import Choice, SearchSpace, Slot, Value, Variant
from search_spaces.spec import ModuleSpec
from search_spaces.workload import Shape

Values = Mapping[str, Value]
Options = Mapping[str, Any]

#: What the number of tokens that a layer sees depends on, beside the phase.
_SHARED = ("width", "meta_tokens")


def hybrid_slm(
    *,
    preset: str = "small",
    vocabulary: int | None = None,
    prefill: Sequence[int] | None = None,
    decode: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    mixers: Sequence[str] | None = None,
    heads: int | None = None,
    head_width: int | None = None,
    kv_heads: Sequence[int] | None = None,
    windows: Sequence[int] | None = None,
    states: Sequence[int] | None = None,
    ratios: Sequence[float] | None = None,
    meta_tokens: Sequence[int] | None = None,
    tied: bool | None = None,
    chunk: int | None = None,
    kernel: int | None = None,
    context: int | None = None,
    epsilon: float | None = None,
    rotary_base: float | None = None,
    rotary_stretch: Sequence[float] | None = None,
    attention_bias: bool | None = None,
    attention_norm: bool | None = None,
    shared_queries: bool | None = None,
    kept_layers: Sequence[Sequence[int]] | None = None,
) -> SearchSpace:
    """Small language models: width, depth and meta tokens; the mixer of every layer, its size, and the feed-forward.

    Phase `prefill_T` is a prompt of T tokens, `decode_L` the token after L others. Smaller networks are the first
    features, layers, key-value heads, key features and hidden units of larger ones; every kind of mixer has weights of
    its own in each layer. Options that are not given are those of the preset.

    Args:
        preset: `small` (one or two million parameters, a vocabulary of 2048), `billions` (one to three billion), or a
            published model, whose sizes the space then has: `llama-3.2-1b`, `lfm2-1.2b` or `mamba2-1.3b`.
        vocabulary: number of tokens.
        prefill: lengths of prompts, each a phase.
        decode: numbers of tokens that the next one follows, each a phase.
        widths: of a token; multiples of `heads`.
        depths: numbers of layers, each a mixer and a feed-forward.
        mixers: kinds of mixer that a layer may have, some of `search_spaces.slm.mixers.MIXERS`. The largest network, of which
            limits in % are shares, has the last one in all layers.
        heads: of queries in attention, and of all other mixers that have heads.
        head_width: features of a head in attention; those of all heads together are the largest width unless given.
        kv_heads: heads of keys and values in attention, divisors of `heads`.
        windows: tokens that attention to a sliding window sees.
        states: features of a key in each head of mixers whose state has a fixed size (N of Mamba-2).
        ratios: of hidden units of the feed-forward to the width; 0 leaves it out, which the mixer `skip` rules out.
        meta_tokens: numbers of learned tokens before every sequence.
        tied: whether the head reads the table of the embedding.
        chunk: tokens of a chunk of RAT, a power of two.
        kernel: tokens that a short convolution sees.
        context: most tokens of a sequence, for mixers whose state has room for so many; without it as many as the
            phases have.
        epsilon: of normalisation.
        rotary_base: of the rotation in attention.
        rotary_stretch: how slow pairs are slowed down, as in Llama 3.1: the four numbers of
            `search_spaces.slm.rotation.Stretch`; not unless given.
        attention_bias: whether queries, keys and values of attention have a bias.
        attention_norm: whether queries and keys of attention are normalised in every head.
        shared_queries: whether all heads of queries share the key-value heads that a layer has; otherwise each has as
            many as there are for the largest number, and they leave with it.
        kept_layers: for each of `depths` the numbers of the layers that run, from 1; the first ones unless given.

    Raises:
        ValueError: when a size is impossible, the preset or a mixer is unknown, or a layer could be empty.
    """
    given = {name: value for name, value in locals().items() if name != "preset" and value is not None}
    options = filled_in(preset_options(preset) | given)
    width = Choice("width", tuple(sorted(options["widths"])))
    depth = Choice("depth", tuple(sorted(options["depths"])))
    choices = [width, depth, Choice("meta_tokens", tuple(sorted(options["meta_tokens"])))]
    slots = [Slot("embedding", _SHARED, partial(_embedding, options=options))]
    for number in range(1, int(depth.options[-1]) + 1):
        layer = _Layer(number, depth, options)
        choices += layer.choices
        slots += layer.slots
    slots.append(Slot("head", _SHARED, partial(_head, options=options)))
    phases = tuple(f"{name}_{tokens}" for name in ("prefill", "decode") for tokens in options[name])
    return SearchSpace(
        "hybrid-slm",
        tuple(choices),
        tuple(slots),
        options,
        phases,
        "tokens",
        named=named(options),
        pretrained=SOURCES,
        ties={"head.linear": "embedding.table"} if options["tied"] else {},
    )


class _Layer:
    """A mixer and a feed-forward.

    Args:
        number: of the layer, from 1.
        depth: the choice of the number of layers.
        options: of the space.

    Attributes:
        choices: its own.
        slots: its mixer and its feed-forward.
    """

    def __init__(self, number: int, depth: Choice, options: Options) -> None:
        self._number, self._name, self._options = number, f"layer{number}", options
        self._depths = tuple(int(value) for value in depth.options if number in _layers(options, int(value)))
        needed = (depth.name, self._depths)
        kinds = tuple(kind for kind in MIXERS if kind in options["mixers"])
        mixer = Choice(f"{self._name}_mixer", kinds, needed, ordered=False)
        sizes = [self._size(mixer, name, values) for name, values in _sizes(options).items()]
        self._sizes = [choice for choice in sizes if choice is not None]
        ratio = Choice(f"{self._name}_ratio", tuple(sorted(options["ratios"])), needed)
        self.choices = [mixer, *self._sizes, ratio]
        shared = (*_SHARED, depth.name)
        mixing = (*shared, mixer.name, *(choice.name for choice in self._sizes))
        self.slots = [
            Slot(mixer.name, mixing, self._mixer),
            Slot(f"{self._name}_feed_forward", (*shared, ratio.name), self._feed_forward),
        ]

    def _size(self, mixer: Choice, name: str, values: Sequence[int]) -> Choice | None:
        """A choice of those mixers that have it; `None` when none does."""
        kinds = tuple(kind for kind in mixer.options if kind != SKIP and name in KINDS[str(kind)].choices)
        return Choice(f"{self._name}_{name}", tuple(sorted(values)), (mixer.name, kinds)) if kinds else None

    def _mixer(self, values: Values, phase: str) -> Variant | None:
        name = values[f"{self._name}_mixer"]
        if int(values["depth"]) not in self._depths or name == SKIP:
            return None
        kind, options, width = KINDS[str(name)], self._options, int(values["width"])
        chosen = {size: int(values[f"{self._name}_{size}"]) for size in kind.choices}
        arguments = {"width": width, **chosen, **kind.others(options, chosen)}
        spec = ModuleSpec.of(kind.block, residuals=_residuals(options), epsilon=options["epsilon"], **arguments)
        step, tokens = _phase(phase)
        seen = int(values["meta_tokens"]) + tokens
        after = kind.block.kind.state_shapes(arguments, seen)
        if not step:
            return Variant(spec, ((1, seen, width),), state_outputs=len(after), method="prefill")
        return Variant(spec, ((1, 1, width), *after), state_inputs=len(after), state_outputs=len(after), method="step")

    def _feed_forward(self, values: Values, phase: str) -> Variant | None:
        width, ratio = int(values["width"]), float(values[f"{self._name}_ratio"])
        if int(values["depth"]) not in self._depths or ratio == 0:
            return None
        sizes = {"width": width, "hidden": round(ratio * width), "residuals": _residuals(self._options)}
        spec = ModuleSpec.of(FeedForward, epsilon=self._options["epsilon"], **sizes)
        return Variant(spec, (_passed(values, phase),))


def _sizes(options: Options) -> dict[str, Sequence[int]]:
    """What mixers have by the names of their choices (see `Kind`)."""
    return {"kv_heads": options["kv_heads"], "window": options["windows"], "state": options["states"]}


def _layers(options: Options, depth: int) -> Sequence[int]:
    """Numbers of the layers that run in networks of that depth."""
    kept = options["kept_layers"]
    if kept is None:
        return range(1, depth + 1)
    layers: Sequence[int] = dict(zip(options["depths"], kept, strict=True))[depth]
    return layers


def _residuals(options: Options) -> int:
    return 2 * int(max(options["depths"]))


def _phase(phase: str) -> tuple[bool, int]:
    """Whether a phase is that of the next token, and the number of tokens of a prompt or before the next one."""
    name, _, tokens = phase.partition("_")
    return name == "decode", int(tokens)


def _passed(values: Values, phase: str) -> Shape:
    """The shape of what layers pass on."""
    step, tokens = _phase(phase)
    return 1, 1 if step else int(values["meta_tokens"]) + tokens, int(values["width"])


def _embedding(values: Values, phase: str, *, options: Options) -> Variant:
    step, tokens = _phase(phase)
    sizes = {"vocabulary": options["vocabulary"], **{name: int(values[name]) for name in _SHARED}}
    spec = ModuleSpec.of(Embedding, **sizes)
    method = "step" if step else "forward"
    return Variant(spec, ((1, 1 if step else tokens),), indices=options["vocabulary"], method=method)


def _head(values: Values, phase: str, *, options: Options) -> Variant:
    same = {name: options[name] for name in ("vocabulary", "tied", "epsilon")}
    spec = ModuleSpec.of(Head, **{name: int(values[name]) for name in _SHARED}, **same)
    return Variant(spec, (_passed(values, phase),), method="step" if _phase(phase)[0] else "prefill")
